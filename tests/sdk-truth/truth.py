"""What the four drivers share: the shape of one entry of expected.json."""

from __future__ import annotations

import json


def without_nulls(value: object) -> object:
    """Drops absent members at every depth: absent is absent, never null beside a number."""
    if isinstance(value, dict):
        return {key: without_nulls(member) for key, member in value.items() if member is not None}
    if isinstance(value, list):
        return [without_nulls(member) for member in value]
    return value


def arguments(raw: str, notes: list[str]) -> object:
    """Tool-call arguments as a JSON value; the raw string, with a note, where they are not JSON."""
    try:
        return json.loads(raw)
    except ValueError:
        notes.append("arguments are not JSON; kept as the raw string")
        return raw


def joined(parts: list[str] | None) -> str | None:
    """All parts as one string; None where there was no such part at all."""
    return "".join(parts) if parts else None


def answer(
    *,
    stream: bool,
    status: int,
    text: str,
    reasoning: str | None,
    tool_calls: list[dict],
    finish: str | None,
    usage: dict | None,
    model: str | None,
    id: str | None,
    request_id: str | None,
    notes: list[str],
    **more: object,
) -> dict:
    """An answer's entry. `more` holds what only some SDKs tell; members that are None or empty are left out."""
    entry = {
        "stream": stream,
        "status": status,
        "text": text,
        "reasoning": reasoning,
        "tool_calls": tool_calls,
        "finish": finish,
        "usage": without_nulls(usage) if usage is not None else None,
        "model": model,
        "id": id,
        "request_id": request_id,
    }
    entry.update({key: without_nulls(value) for key, value in more.items() if value not in (None, [], {})})
    if notes:
        entry["note"] = "; ".join(dict.fromkeys(notes))
    return entry


def failure(*, stream: bool, status: int, error: dict, request_id: str | None, notes: list[str]) -> dict:
    """An exception's entry: `class` is the SDK's exception, `message` the server's words as the SDK gives them."""
    entry: dict = {"stream": stream, "status": status, "error": error, "request_id": request_id}
    if notes:
        entry["note"] = "; ".join(dict.fromkeys(notes))
    return entry
