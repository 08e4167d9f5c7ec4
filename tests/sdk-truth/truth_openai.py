"""OpenAI and Azure OpenAI chat completions through `openai`.

Streams are read twice: with `client.chat.completions.stream()`, whose accumulator is the truth, and
chunk by chunk with `create(stream=True)`, joining choice 0 by hand; a difference becomes a note.
"""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import openai

from truth import answer, arguments, failure

NAME, VERSION = "openai", openai.__version__
FILE, EXPECTED = "openai", "expected.json"
ENDPOINTS = ("/v1/chat/completions", "/openai/deployments/*/chat/completions")


def client_for(recording: dict, url: str) -> openai.OpenAI:
    common = {"api_key": "replayed", "max_retries": 0, "timeout": 30}
    parts = urlsplit(recording["request"]["path"])
    if parts.path.startswith("/openai/deployments/"):
        version = parse_qs(parts.query)["api-version"][0]
        return openai.AzureOpenAI(azure_endpoint=url, api_version=version, **common)
    return openai.OpenAI(base_url=f"{url}/v1", **common)


def call(recording: dict, url: str) -> dict:
    body = json.loads(recording["request"]["body"])
    # As extra_body the rest of the recorded request passes unchanged, whatever this SDK's types say of it.
    known = {"model": body.pop("model"), "messages": body.pop("messages")}
    stream = bool(body.pop("stream", False)) if recording["stream"] else False
    with client_for(recording, url) as client:
        try:
            return (streamed if stream else whole)(client, known, body)
        except openai.APIStatusError as error:
            return failed(error, recording["stream"])


def whole(client: openai.OpenAI, known: dict, rest: dict) -> dict:
    raw = client.chat.completions.with_raw_response.create(**known, extra_body=rest)
    completion, notes, more = raw.parse(), [], {}
    error = (completion.model_extra or {}).get("error")
    if completion.choices is None and error:
        notes.append("an error object in an HTTP 200: the SDK raises nothing, its completion has no choices")
        more["error_in_body"] = error
    return entry(completion, False, raw.http_response.headers.get("x-request-id"), notes, more)


def streamed(client: openai.OpenAI, known: dict, rest: dict) -> dict:
    with client.chat.completions.create(**known, stream=True, extra_body=rest) as raw:
        request_id = raw.response.headers.get("x-request-id")
        chunks = list(raw)
    with client.chat.completions.stream(**known, extra_body=rest) as stream:
        # Not get_final_completion(): it raises for finish reasons `length` and `content_filter`.
        stream.until_done()
        completion = stream.current_completion_snapshot

    notes, more = [], {"chunks": len(chunks)}
    by_hand = "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices if c.index == 0)
    if by_hand != (completion.choices[0].message.content or ""):
        notes.append("joined by hand, the text differs from the accumulator's")
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    if usages and completion.usage is None:
        notes.append("the accumulator loses the usage (a later chunk overwrites it); usage here is the chunk's own")
        completion.usage = usages[-1]
    if len(usages) > 1:
        notes.append(f"{len(usages)} chunks carry usage; the last counts")
    skipped = sum(chunk.object != "chat.completion.chunk" for chunk in chunks)
    if skipped:
        notes.append(f"the accumulator skips {skipped} chunk(s) whose `object` is not chat.completion.chunk")
    return entry(completion, True, request_id, notes, more)


def entry(completion, stream: bool, request_id: str | None, notes: list[str], more: dict) -> dict:
    choices = completion.choices or []
    choice = choices[0] if choices else None
    message = choice.message if choice else None
    extra = (message.model_extra or {}) if message else {}
    if choice and message is None:
        notes.append("the choice has no message; the SDK gives None")
    return answer(
        stream=stream,
        status=200,
        text=(message.content or "") if message else "",
        reasoning=extra.get("reasoning_content") or extra.get("reasoning"),
        tool_calls=[
            {"id": c.id, "name": c.function.name, "arguments": arguments(c.function.arguments, notes)}
            for c in (message.tool_calls if message else None) or []
        ],
        finish=choice.finish_reason if choice else None,
        usage=completion.usage.to_dict() if completion.usage else None,
        model=completion.model,
        id=completion.id,
        request_id=request_id,
        notes=notes,
        choices=len(choices) if len(choices) != 1 else None,
        refusal=message.refusal if message else None,
        **more,
    )


def failed(error: openai.APIStatusError, stream: bool) -> dict:
    body = error.body if isinstance(error.body, dict) else {}
    return failure(
        stream=stream,
        status=error.status_code,
        error={
            "class": type(error).__name__,
            "message": body.get("message"),
            "code": error.code,
            "type": error.type,
            "param": error.param,
        },
        request_id=error.request_id,
        notes=[],
    )
