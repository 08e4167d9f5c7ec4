"""Anthropic messages through `anthropic`.

Recordings with `?beta=true` go through `client.beta.messages`, the others through `client.messages`,
as their recorders did. Streams end in `MessageStream.get_final_message()`.
"""

from __future__ import annotations

import json

import anthropic

from truth import answer, failure, joined

NAME, VERSION = "anthropic", anthropic.__version__
FILE, EXPECTED = "anthropic", "expected.json"
ENDPOINTS = ("/v1/messages",)


def call(recording: dict, url: str) -> dict:
    body = json.loads(recording["request"]["body"])
    known = {key: body.pop(key) for key in ("model", "messages", "max_tokens")}
    stream = bool(body.pop("stream", False)) if recording["stream"] else False
    headers = {k: v for k, v in recording["request"]["headers"].items() if k == "anthropic-beta"}
    with anthropic.Anthropic(api_key="replayed", base_url=url, max_retries=0, timeout=30) as client:
        messages = client.beta.messages if "beta=true" in recording["request"]["path"] else client.messages
        try:
            if not stream:
                raw = messages.with_raw_response.create(**known, extra_body=body, extra_headers=headers)
                return entry(raw.parse(), False, raw.http_response.headers.get("request-id"), {})
            with messages.stream(**known, extra_body=body, extra_headers=headers) as manager:
                events = [event.type for event in manager]
                message, request_id = manager.get_final_message(), manager.response.headers.get("request-id")
            return entry(message, True, request_id, {"chunks": events.count("content_block_delta") or None})
        except anthropic.APIStatusError as error:
            return failed(error, recording["stream"])


def entry(message, stream: bool, request_id: str | None, more: dict) -> dict:
    notes: list[str] = []
    blocks = message.content
    texts = [b.text for b in blocks if b.type == "text"]
    thinking = [b for b in blocks if b.type == "thinking"]
    server = [b for b in blocks if b.type in ("server_tool_use", "mcp_tool_use")]
    if server:
        notes.append("tool calls that the server runs itself are in server_tool_calls, not in tool_calls")
    return answer(
        stream=stream,
        status=200,
        text="".join(texts),
        reasoning=joined([b.thinking for b in thinking]),
        tool_calls=[tool(b) for b in blocks if b.type == "tool_use"],
        finish=message.stop_reason,
        usage=message.usage.to_dict(),
        model=message.model,
        id=message.id,
        request_id=request_id,
        notes=notes,
        blocks=[b.type for b in blocks],
        server_tool_calls=[tool(b) for b in server],
        reasoning_signature=joined([b.signature for b in thinking if b.signature]),
        redacted=sum(b.type == "redacted_thinking" for b in blocks) or None,
        redacted_data=[b.data for b in blocks if b.type == "redacted_thinking"] or None,
        stop_sequence=message.stop_sequence,
        **more,
    )


def tool(block) -> dict:
    return {"id": block.id, "name": block.name, "arguments": block.input}


def failed(error: anthropic.APIStatusError, stream: bool) -> dict:
    body = error.body if isinstance(error.body, dict) else {}
    detail = body.get("error") or {}
    return failure(
        stream=stream,
        status=error.status_code,
        error={
            "class": type(error).__name__,
            "message": detail.get("message"),
            "code": None,
            "type": detail.get("type"),
            "request_id_in_body": body.get("request_id"),
        },
        request_id=error.request_id,
        notes=[],
    )
