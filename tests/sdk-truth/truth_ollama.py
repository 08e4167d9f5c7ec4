"""Ollama `/api/chat` through `ollama`.

The SDK hands out one object a line and has no accumulator: text, thinking and tool calls are joined
here in order, the numbers come from the line with `done: true`.
"""

from __future__ import annotations

import json
from importlib.metadata import version

import ollama

from truth import answer, failure, joined

NAME, VERSION = "ollama", version("ollama")
FILE, EXPECTED = "ollama", "expected.json"
ENDPOINTS = ("/api/chat",)
COUNTS = ("prompt_eval_count", "eval_count")
DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


def call(recording: dict, url: str) -> dict:
    body = json.loads(recording["request"]["body"])
    stream = recording["stream"]
    body.pop("stream", None)
    client = ollama.Client(host=url, timeout=30)
    try:
        reply = client.chat(**body, stream=stream)
        parts = list(reply) if stream else [reply]
        return entry(parts, stream, recording["response"]["status"])
    except ollama.ResponseError as error:
        return refused(error, stream)
    finally:
        client._client.close()


def refused(error: ollama.ResponseError, stream: bool) -> dict:
    return failure(
        stream=stream,
        status=error.status_code,
        error={"class": type(error).__name__, "message": error.error, "code": None},
        request_id=None,
        notes=[],
    )


def entry(parts: list, stream: bool, status: int) -> dict:
    notes: list[str] = []
    last = parts[-1]
    if not last.done:
        notes.append("no line says done: true; the SDK raises nothing")
    messages = [part.message for part in parts]
    calls = [call for message in messages for call in message.tool_calls or []]
    return answer(
        stream=stream,
        status=status,
        text="".join(message.content or "" for message in messages),
        reasoning=joined([message.thinking for message in messages if message.thinking is not None]),
        tool_calls=[
            {"id": None, "name": c.function.name, "arguments": dict(c.function.arguments)} for c in calls
        ],
        finish=last.done_reason,
        usage={name: getattr(last, name) for name in COUNTS},
        model=last.model,
        id=None,
        request_id=None,
        notes=notes,
        chunks=len(parts) if stream else None,
        durations_ns={name: getattr(last, name) for name in DURATIONS},
    )
