"""Ollama's generate through `ollama`; the SDK has no accumulator: lines are joined here, the numbers are the last line's."""

from __future__ import annotations

import json

import ollama

from truth import answer, joined
from truth_ollama import COUNTS, DURATIONS, NAME, VERSION, refused  # noqa: F401  (NAME and VERSION are part of a driver)

FILE, EXPECTED = "generate", "generate.expected.json"
ENDPOINTS = ("/api/generate",)


def call(recording: dict, url: str) -> dict:
    body = json.loads(recording["request"]["body"])
    stream = recording["stream"]
    body.pop("stream", None)
    client = ollama.Client(host=url, timeout=30)
    try:
        reply = client.generate(**body, stream=stream)
        parts = list(reply) if stream else [reply]
    except ollama.ResponseError as error:
        return refused(error, stream)
    finally:
        client._client.close()
    last, notes = parts[-1], []
    if not last.done:
        notes.append("no line says done: true; the SDK raises nothing")
    return answer(
        stream=stream,
        status=recording["response"]["status"],
        text="".join(part.response or "" for part in parts),
        reasoning=joined([part.thinking for part in parts if part.thinking is not None]),
        tool_calls=[],
        finish=last.done_reason,
        usage={name: getattr(last, name) for name in COUNTS},
        model=last.model,
        id=None,
        request_id=None,
        notes=notes,
        chunks=len(parts) if stream else None,
        durations_ns={name: getattr(last, name) for name in DURATIONS},
        context_tokens=len(last.context) if last.context is not None else None,
    )
