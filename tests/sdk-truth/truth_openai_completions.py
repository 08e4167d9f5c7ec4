"""OpenAI's legacy completions through `openai`; the SDK has no accumulator for their streams, chunks are joined here."""

from __future__ import annotations

import json

import openai

from truth import answer
from truth_openai import NAME, VERSION, failed  # noqa: F401  (NAME and VERSION are part of a driver)

FILE, EXPECTED = "completions", "completions.expected.json"
ENDPOINTS = ("/v1/completions",)


def call(recording: dict, url: str) -> dict:
    body = json.loads(recording["request"]["body"])
    known = {"model": body.pop("model"), "prompt": body.pop("prompt")}
    body.pop("stream", None)
    with openai.OpenAI(base_url=f"{url}/v1", api_key="replayed", max_retries=0, timeout=30) as client:
        try:
            if not recording["stream"]:
                raw = client.completions.with_raw_response.create(**known, extra_body=body)
                return entry([raw.parse()], False, raw.http_response.headers.get("x-request-id"))
            with client.completions.create(**known, stream=True, extra_body=body) as raw:
                return entry(list(raw), True, raw.response.headers.get("x-request-id"))
        except openai.APIStatusError as error:
            return failed(error, recording["stream"])


def entry(parts: list, stream: bool, request_id: str | None) -> dict:
    choices = [choice for part in parts for choice in part.choices if choice.index == 0]
    usages = [part.usage for part in parts if part.usage is not None]
    finishes = [choice.finish_reason for choice in choices if choice.finish_reason]
    return answer(
        stream=stream,
        status=200,
        text="".join(choice.text for choice in choices),
        reasoning=None,
        tool_calls=[],
        finish=finishes[-1] if finishes else None,
        usage=usages[-1].to_dict() if usages else None,
        model=parts[0].model,
        id=parts[0].id,
        request_id=request_id,
        notes=[],
        chunks=len(parts) if stream else None,
    )
