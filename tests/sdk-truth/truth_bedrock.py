"""Amazon Bedrock Converse and ConverseStream through `boto3`.

boto3 has no accumulator for streams: events are joined here by `contentBlockIndex`, as AWS's own
examples do. Blobs of the recorded request (base64 in JSON) become bytes, which is what boto3 takes.
"""

from __future__ import annotations

import base64
import json
from urllib.parse import unquote

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from truth import answer, arguments, failure, joined

NAME, VERSION = "boto3", boto3.__version__
FILE, EXPECTED = "bedrock", "expected.json"
ENDPOINTS = ("/model/*/converse", "/model/*/converse-stream")
CONFIG = Config(retries={"total_max_attempts": 1}, parameter_validation=False)


def call(recording: dict, url: str) -> dict:
    request = blobs(json.loads(recording["request"]["body"]))
    request["modelId"] = unquote(recording["request"]["path"].split("/")[2])
    client = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="replayed",
        aws_secret_access_key="replayed",
        config=CONFIG,
    )
    try:
        if recording["stream"]:
            return streamed(client.converse_stream(**request))
        return whole(client.converse(**request))
    except (ClientError, EventStreamError) as error:
        return failed(error, recording["stream"])
    finally:
        client.close()


def blobs(value):
    """Turns the members that are blobs in the API (`bytes`, `redactedContent`) from base64 into bytes."""
    if isinstance(value, dict):
        is_blob = lambda key, member: key in ("bytes", "redactedContent") and isinstance(member, str)
        return {k: base64.b64decode(m) if is_blob(k, m) else blobs(m) for k, m in value.items()}
    return [blobs(member) for member in value] if isinstance(value, list) else value


def whole(response: dict) -> dict:
    blocks = response["output"]["message"]["content"]
    return entry(response, blocks, response["stopReason"], response["usage"], response.get("metrics"), False, [], {})


def streamed(response: dict) -> dict:
    notes: list[str] = []
    blocks: dict[int, dict] = {}
    stop, usage, metrics, deltas = None, None, None, 0
    for event in response["stream"]:
        if "contentBlockStart" in event:
            start = event["contentBlockStart"]
            (kind, head), = start["start"].items()
            blocks[start["contentBlockIndex"]] = {kind: {**head, **({"input": ""} if kind == "toolUse" else {})}}
        elif "contentBlockDelta" in event:
            deltas += 1
            (kind, delta), = event["contentBlockDelta"]["delta"].items()
            index = event["contentBlockDelta"]["contentBlockIndex"]
            join(blocks.setdefault(index, {}), kind, delta)
        elif "messageStop" in event:
            stop = event["messageStop"]["stopReason"]
        elif "metadata" in event:
            usage, metrics = event["metadata"]["usage"], event["metadata"].get("metrics")
    ordered = [blocks[index] for index in sorted(blocks)]
    for block in ordered:
        if "toolUse" in block:
            block["toolUse"]["input"] = arguments(block["toolUse"]["input"], notes)
    return entry(response, ordered, stop, usage, metrics, True, notes, {"chunks": deltas})


def join(block: dict, kind: str, delta) -> None:
    if kind == "text":
        block["text"] = block.get("text", "") + delta
    elif kind == "toolUse":
        block["toolUse"]["input"] += delta["input"]
    elif kind == "reasoningContent":
        reasoning = block.setdefault("reasoningContent", {})
        if "redactedContent" in delta:
            reasoning["redactedContent"] = reasoning.get("redactedContent", b"") + delta["redactedContent"]
        else:
            text = reasoning.setdefault("reasoningText", {})
            for part in ("text", "signature"):
                if part in delta:
                    text[part] = text.get(part, "") + delta[part]
    else:
        block.setdefault(kind, {})  # toolResult, citation: known to be there, not joined


def entry(response, blocks, stop, usage, metrics, stream, notes, more) -> dict:
    tools = [b["toolUse"] for b in blocks if "toolUse" in b]
    server = [t for t in tools if t.get("type") == "server_tool_use"]
    reasoning = [b["reasoningContent"] for b in blocks if "reasoningContent" in b]
    texts = [r["reasoningText"] for r in reasoning if "reasoningText" in r]
    if server:
        notes.append("tool calls that the server runs itself are in server_tool_calls, not in tool_calls")
    meta = response["ResponseMetadata"]
    return answer(
        stream=stream,
        status=meta["HTTPStatusCode"],
        text="".join(b["text"] for b in blocks if "text" in b),
        reasoning=joined([t["text"] for t in texts if "text" in t]),
        tool_calls=[tool(t) for t in tools if t not in server],
        finish=stop,
        usage=usage,
        model=None,
        id=None,
        request_id=meta.get("RequestId"),
        notes=notes,
        blocks=[next(iter(b)) for b in blocks],
        server_tool_calls=[tool(t) for t in server],
        reasoning_signature=joined([t["signature"] for t in texts if "signature" in t]),
        redacted=sum("redactedContent" in r for r in reasoning) or None,
        metrics=metrics,
        **more,
    )


def tool(use: dict) -> dict:
    return {"id": use["toolUseId"], "name": use["name"], "arguments": use["input"]}


def failed(error, stream: bool) -> dict:
    detail, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    notes = []
    if detail.get("Code", "").isdigit():
        notes.append("the recording lacks the x-amzn-errortype header, so boto3 gives the status in place of a code")
    return failure(
        stream=stream,
        status=meta.get("HTTPStatusCode", 200),
        error={"class": type(error).__name__, "message": detail.get("Message"), "code": detail.get("Code")},
        request_id=meta.get("RequestId"),
        notes=notes,
    )
