"""Amazon Bedrock InvokeModel and its stream through `boto3`, and for Anthropic's bodies through `anthropic`.

boto3 hands out raw bodies: the model's maker says what is in them. Anthropic's are read by
`anthropic.AnthropicBedrock`, which is the truth for them. Titan, Nova, Llama, Mistral and Cohere have no such
SDK: their JSON is read here by hand (`read_by` says which), as their pages document it. Numbers that are in
headers only (`x-amzn-bedrock-…`) or in the last chunk of a stream (`amazon-bedrock-invocationMetrics`) are in
`metrics`, under the names that streams use.
"""

from __future__ import annotations

import json
from urllib.parse import unquote

import anthropic
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

import truth_anthropic
from truth import answer, arguments
from truth_bedrock import failed, join

NAME, VERSION = "boto3; anthropic for Anthropic's bodies", f"{boto3.__version__}; {anthropic.__version__}"
FILE, EXPECTED = "invoke", "invoke.expected.json"
ENDPOINTS = ("/model/*/invoke", "/model/*/invoke-with-response-stream")
CONFIG = Config(retries={"total_max_attempts": 1})
KEYS = {"aws_access_key_id": "replayed", "aws_secret_access_key": "replayed", "region_name": "us-east-1"}
HEADERS = {
    "x-amzn-bedrock-input-token-count": "inputTokenCount",
    "x-amzn-bedrock-output-token-count": "outputTokenCount",
    "x-amzn-bedrock-cache-read-input-token-count": "cacheReadInputTokenCount",
    "x-amzn-bedrock-cache-write-input-token-count": "cacheWriteInputTokenCount",
    "x-amzn-bedrock-invocation-latency": "invocationLatency",
}


def client_for(url: str):
    return boto3.client("bedrock-runtime", endpoint_url=url, config=CONFIG, **KEYS)


def model_of(recording: dict) -> str:
    return unquote(recording["request"]["path"].split("/")[2])


def call(recording: dict, url: str) -> dict:
    model, stream = model_of(recording), recording["stream"]
    request = {"modelId": model, "body": recording["request"]["body"].encode()}
    request |= {"contentType": "application/json", "accept": "application/json"}
    client = client_for(url)
    try:
        if stream:
            response = client.invoke_model_with_response_stream(**request)
            parts = [json.loads(event["chunk"]["bytes"]) for event in response["body"]]
        else:
            response = client.invoke_model(**request)
            parts = [json.loads(response["body"].read())]
    except (ClientError, EventStreamError) as error:
        return failed(error, stream)
    finally:
        client.close()

    meta = response["ResponseMetadata"]
    headers = meta["HTTPHeaders"]
    metrics = {name: int(headers[header]) for header, name in HEADERS.items() if header in headers}
    for part in parts:
        metrics |= part.get("amazon-bedrock-invocationMetrics", {})
    more = {
        "metrics": metrics,
        "chunks": len(parts) if stream else None,
        "guardrail": next((p[GUARDRAIL] for p in parts if GUARDRAIL in p), None),
    }
    family = model.removeprefix("us.").removeprefix("eu.").removeprefix("apac.").split(".")[0]
    if family == "anthropic":
        return by_anthropic(recording, url, meta.get("RequestId"), more)
    kind = "nova" if "nova" in model else FAMILIES[family]
    read, notes = BY_HAND[kind](parts), []
    for tool in read.get("tool_calls", []):
        if isinstance(tool["arguments"], str):
            tool["arguments"] = arguments(tool["arguments"], notes)
    return answer(
        stream=stream,
        status=meta["HTTPStatusCode"],
        text=read["text"],
        reasoning=None,
        tool_calls=read.get("tool_calls", []),
        finish=read["finish"],
        usage=read["usage"] or None,
        model=None,
        id=read.get("id"),
        request_id=meta.get("RequestId"),
        notes=notes,
        family=kind,
        read_by="hand",
        **more,
    )


FAMILIES = {"amazon": "titan", "meta": "llama", "mistral": "mistral", "cohere": "cohere"}
GUARDRAIL = "amazon-bedrock-guardrailAction"


def by_anthropic(recording: dict, url: str, request_id: str | None, more: dict) -> dict:
    body = json.loads(recording["request"]["body"])
    known = {key: body.pop(key) for key in ("messages", "max_tokens")}
    keys = {"aws_access_key": "replayed", "aws_secret_key": "replayed", "aws_region": "us-east-1"}
    with anthropic.AnthropicBedrock(base_url=url, max_retries=0, timeout=30, **keys) as client:
        known["model"] = model_of(recording)
        if recording["stream"]:
            with client.messages.stream(**known, extra_body=body) as stream:
                message = stream.get_final_message()
        else:
            message = client.messages.create(**known, extra_body=body)
    more = {"family": "anthropic", "read_by": "anthropic", **more}
    return truth_anthropic.entry(message, recording["stream"], request_id, more)


def titan(parts: list[dict]) -> dict:
    if "results" in parts[0]:
        (body,), (result, *_) = parts, parts[0]["results"]
        usage = {"inputTextTokenCount": body["inputTextTokenCount"], "tokenCount": result["tokenCount"]}
        return {"text": result["outputText"], "finish": result["completionReason"], "usage": usage}
    usage = {k: int(p[k]) for p in parts for k in ("inputTextTokenCount", "totalOutputTextTokenCount") if k in p}
    return {"text": "".join(p["outputText"] for p in parts), "finish": last(parts, "completionReason"), "usage": usage}


def llama(parts: list[dict]) -> dict:
    usage = {k: p[k] for p in parts for k in ("prompt_token_count", "generation_token_count") if p.get(k) is not None}
    return {"text": "".join(p["generation"] for p in parts), "finish": last(parts, "stop_reason"), "usage": usage}


def mistral(parts: list[dict]) -> dict:
    outputs = [p["outputs"][0] for p in parts]
    return {"text": "".join(o["text"] for o in outputs), "finish": last(outputs, "stop_reason"), "usage": None}


def cohere(parts: list[dict]) -> dict:
    (body,) = parts
    return {"text": body["text"], "finish": body["finish_reason"], "usage": None, "id": body["response_id"]}


def nova(parts: list[dict]) -> dict:
    """Nova's bodies are those of Converse, one event a chunk when streamed."""
    if "output" in parts[0]:
        blocks = parts[0]["output"]["message"]["content"]
        finish, usage = parts[0]["stopReason"], parts[0]["usage"]
    else:
        by_index: dict[int, dict] = {}
        finish, usage = None, None
        for part in parts:
            if "contentBlockStart" in part:
                start = part["contentBlockStart"]
                by_index[start["contentBlockIndex"]] = {"toolUse": {**start["start"]["toolUse"], "input": ""}}
            elif "contentBlockDelta" in part:
                (kind, delta), = part["contentBlockDelta"]["delta"].items()
                join(by_index.setdefault(part["contentBlockDelta"]["contentBlockIndex"], {}), kind, delta)
            elif "messageStop" in part:
                finish = part["messageStop"]["stopReason"]
            elif "metadata" in part:
                usage = part["metadata"]["usage"]
        blocks = [by_index[index] for index in sorted(by_index)]
    return {
        "text": "".join(b["text"] for b in blocks if "text" in b),
        "tool_calls": [
            {"id": t["toolUseId"], "name": t["name"], "arguments": t["input"]}
            for t in (b["toolUse"] for b in blocks if "toolUse" in b)
        ],
        "finish": finish,
        "usage": usage,
    }


def last(parts: list[dict], key: str):
    return next((p[key] for p in reversed(parts) if p.get(key) is not None), None)


BY_HAND = {"titan": titan, "nova": nova, "llama": llama, "mistral": mistral, "cohere": cohere}
