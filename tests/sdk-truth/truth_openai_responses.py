"""OpenAI and Azure OpenAI Responses through `openai`.

Streams are read twice: with `client.responses.stream()`, whose final response (of `response.completed`,
`.incomplete` or `.failed`) is the truth, and event by event with `create(stream=True)`, joining the
deltas by hand; a difference becomes a note.
"""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import openai

from truth import answer, arguments, failure, joined, without_nulls
from truth_openai import NAME, VERSION, failed  # noqa: F401  (NAME and VERSION are part of a driver)

FILE, EXPECTED = "responses", "responses.expected.json"
ENDPOINTS = ("/v1/responses", "/openai/v1/responses", "/api/v1/responses", "/responses")
# Items of `output` that are calls which the service runs by itself.
SERVER_RUN = (
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "mcp_call",
    "tool_search_call",
)


def call(recording: dict, url: str) -> dict:
    body = json.loads(recording["request"]["body"])
    known = {key: body.pop(key) for key in ("model", "input") if key in body}
    body.pop("stream", None)
    # Azure's newer address is used with the plain client, its path as the base.
    prefix = urlsplit(recording["request"]["path"]).path.removesuffix("/responses")
    with openai.OpenAI(base_url=f"{url}{prefix}", api_key="replayed", max_retries=0, timeout=30) as client:
        try:
            return (streamed if recording["stream"] else whole)(client, known, body)
        except openai.APIStatusError as error:
            return failed(error, recording["stream"])


def whole(client: openai.OpenAI, known: dict, rest: dict) -> dict:
    raw = client.responses.with_raw_response.create(**known, extra_body=rest)
    return entry(raw.parse(), False, raw.http_response.headers.get("x-request-id"), [], {})


def streamed(client: openai.OpenAI, known: dict, rest: dict) -> dict:
    notes: list[str] = []
    with client.responses.create(**known, stream=True, extra_body=rest) as raw:
        request_id = raw.response.headers.get("x-request-id")
        events = []
        try:
            events.extend(raw)
        except openai.APIStatusError:
            raise
        except openai.APIError as error:
            return failed_inside(error, request_id)
    try:
        with client.responses.stream(**known, extra_body=rest) as stream:
            # Not get_final_response(): it raises for a response that is incomplete or failed.
            finals = [event.response for event in stream if event.type in FINAL]
    except (TypeError, AttributeError, RuntimeError, IndexError, AssertionError) as error:
        notes.append(f"the accumulator cannot read this ({type(error).__name__}); the final event is taken as it came")
        finals = [event.response for event in events if event.type in FINAL]
    by_hand = {
        "text": "".join(e.delta for e in events if e.type == "response.output_text.delta"),
        "reasoning": joined([e.delta for e in events if e.type in REASONING_DELTAS]),
        "refusal": joined([e.delta for e in events if e.type == "response.refusal.delta"]),
    }
    more = {
        "chunks": sum(e.type.endswith(".delta") for e in events),
        "events": len(events),
        "last_event": events[-1].type,
    }
    if not finals:
        return unfinished(events, by_hand, request_id, more)
    made = entry(finals[-1], True, request_id, notes, more)
    deltas = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    by_hand["arguments"] = "".join(deltas)
    said = {**made, "arguments": "".join(i.arguments for i in finals[-1].output or [] if i.type == "function_call")}
    notes += [
        f"joined by hand, the deltas of {key} differ from the final response"
        for key, value in by_hand.items()
        if (value or "") != (said.get(key) or "")
    ]
    return entry(finals[-1], True, request_id, notes, more)


def unfinished(events: list, by_hand: dict, request_id: str | None, more: dict) -> dict:
    """A stream without a final response: the SDK raises only if get_final_response() is asked."""
    created, error = events[0].response, next((e for e in events if e.type == "error"), None)
    return answer(
        stream=True,
        status=200,
        text=by_hand["text"],
        reasoning=by_hand["reasoning"],
        tool_calls=[],
        finish=None,
        usage=None,
        model=created.model,
        id=created.id,
        request_id=request_id,
        notes=["no final event: get_final_response() raises RuntimeError, reading the events raises nothing"],
        error_in_body=error.to_dict() if error else None,
        **more,
    )


def failed_inside(error: openai.APIError, request_id: str | None) -> dict:
    """An event with a member `error`: the SDK raises APIError in the middle of the stream."""
    told = {"class": type(error).__name__, "message": error.message, "code": error.code, "type": error.type, "param": error.param}
    return failure(stream=True, status=200, error=told, request_id=request_id, notes=["raised while the stream was read"])


FINAL = ("response.completed", "response.incomplete", "response.failed")
REASONING_DELTAS = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")


def entry(response, stream: bool, request_id: str | None, notes: list[str], more: dict) -> dict:
    items = response.output or []
    messages = [part for item in items if item.type == "message" for part in item.content]
    calls = [item for item in items if item.type == "function_call"]
    reasoning = [item for item in items if item.type == "reasoning"]
    texts = [p.text for item in reasoning for p in [*(item.summary or []), *(getattr(item, "content", None) or [])]]
    return answer(
        stream=stream,
        status=200,
        text=response.output_text,
        reasoning=joined(texts) if reasoning else None,
        tool_calls=[
            {"id": c.call_id, "name": c.name, "arguments": arguments(c.arguments, notes)} for c in calls
        ],
        finish=response.status,
        usage=response.usage.to_dict() if response.usage else None,
        model=response.model,
        id=response.id,
        request_id=request_id,
        notes=notes,
        blocks=[item.type for item in items],
        incomplete_reason=response.incomplete_details.reason if response.incomplete_details else None,
        refusal=joined([p.refusal for p in messages if p.type == "refusal"]),
        tool_item_ids=[c.id for c in calls],
        server_tool_calls=[without_nulls(i.to_dict()) for i in items if i.type in SERVER_RUN],
        reasoning_items=[
            {
                "id": item.id,
                "summary": [p.text for p in item.summary or []],
                "content": [p.text for p in getattr(item, "content", None) or []],
                "encrypted_content": getattr(item, "encrypted_content", None),
            }
            for item in reasoning
        ],
        service_tier=response.service_tier,
        error_in_body=response.error.to_dict() if response.error else None,
        **more,
    )
