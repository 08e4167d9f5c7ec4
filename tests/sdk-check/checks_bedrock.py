"""Amazon Bedrock's Converse, InvokeModel and token counts through `boto3`."""

from __future__ import annotations

import json
import threading
from itertools import islice

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, EventStreamError, HTTPClientError, ReadTimeoutError

from common import (
    DESCRIPTION,
    PDF,
    PNG,
    PROMPT,
    SCHEMA,
    STATUSES,
    SYSTEM,
    WEATHER,
    at_once,
    checks_of,
    expect,
    expect_equal,
    expect_in,
    expect_weather,
    raises,
    unique,
)

check = checks_of("python boto3")
BOTH = ("whole", "streamed")
USER = [{"role": "user", "content": [{"text": PROMPT}]}]
TOOLS = {"tools": [{"toolSpec": {"name": "get_weather", "description": DESCRIPTION, "inputSchema": {"json": SCHEMA}}}]}
MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
# What Bedrock calls a refusal; 401 and 529 are none of its own.
CODES = {
    400: {"ValidationException"},
    401: {"UnrecognizedClientException", "AccessDeniedException", "InvalidSignatureException", "MissingAuthenticationTokenException"},
    403: {"AccessDeniedException", "UnrecognizedClientException"},
    404: {"ResourceNotFoundException"},
    429: {"ThrottlingException"},
    500: {"InternalServerException"},
    503: {"ServiceUnavailableException", "ModelNotReadyException"},
    529: {"ServiceUnavailableException", "ModelNotReadyException", "ModelErrorException"},
}
session_lock = threading.Lock()  # boto3 does not make clients in several threads at once


def client(target, *, key="AKIDEXAMPLE", attempts=1, **more):
    options = {"read_timeout": target.timeout, "connect_timeout": 5, **more}
    config = Config(retries={"total_max_attempts": attempts, "mode": "standard"}, **options)
    keys = {"aws_access_key_id": key, "aws_secret_access_key": target.key}
    with session_lock:
        session = boto3.session.Session()
        return session.client("bedrock-runtime", region_name="us-east-1", endpoint_url=target.base, config=config, **keys)


def told(target, how: str, model: str = MODEL, messages=USER, **ask) -> dict:
    """One answer in the shape of Converse; streams are joined by block."""
    with_client = client(target)
    try:
        if how == "whole":
            return with_client.converse(modelId=model, messages=messages, **ask)
        return joined(with_client.converse_stream(modelId=model, messages=messages, **ask)["stream"])
    finally:
        with_client.close()


def joined(stream) -> dict:
    blocks: dict[int, dict] = {}
    answer: dict = {"kinds": []}
    for event in stream:
        (kind, body), = event.items()
        answer["kinds"].append(kind)
        if kind == "contentBlockStart":
            tool = body["start"].get("toolUse")
            blocks[body["contentBlockIndex"]] = {"toolUse": {**tool, "input": ""}} if tool else {}
        elif kind == "contentBlockDelta":
            block, delta = blocks.setdefault(body["contentBlockIndex"], {}), body["delta"]
            if "text" in delta:
                block["text"] = block.get("text", "") + delta["text"]
            elif "toolUse" in delta:
                block["toolUse"]["input"] += delta["toolUse"]["input"]
            elif "reasoningContent" in delta:
                said = block.setdefault("reasoningContent", {})
                for name, value in delta["reasoningContent"].items():
                    said[name] = said.get(name, type(value)()) + value
        elif kind == "messageStop":
            answer["stopReason"] = body["stopReason"]
        elif kind == "metadata":
            answer |= {"usage": body["usage"], "metrics": body["metrics"]}
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"])
    answer["output"] = {"message": {"role": "assistant", "content": [blocks[i] for i in sorted(blocks)]}}
    return answer


def blocks_of(answer, kind: str) -> list:
    return [block[kind] for block in answer["output"]["message"]["content"] if kind in block]


def expect_text(answer, stop=("end_turn", "max_tokens")) -> None:
    expect("".join(blocks_of(answer, "text")), "no text")
    expect_in("stopReason", answer.get("stopReason"), stop)
    usage = answer.get("usage", {})
    expect(usage.get("inputTokens", 0) > 0 and usage.get("outputTokens", 0) > 0, f"usage {usage}")
    # What is read from and written to the prompt cache counts in the total, not in the input.
    parts = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
    expect_equal("totalTokens", usage["totalTokens"], sum(usage.get(part, 0) for part in parts))
    expect(answer["metrics"]["latencyMs"] is not None, "no latencyMs")


@check("converse")
def _(target):
    answer = told(target, "whole", system=[{"text": SYSTEM}], inferenceConfig={"maxTokens": 64, "temperature": 0.5, "topP": 0.9})
    expect_text(answer)
    expect(answer["ResponseMetadata"].get("RequestId"), "no request id")


@check("converse, streamed, events in order")
def _(target):
    answer = told(target, "streamed")
    expect_text(answer)
    expect_equal("the first event", answer["kinds"][0], "messageStart")
    expect_equal("the last events", answer["kinds"][-3:], ["contentBlockStop", "messageStop", "metadata"])


@check("converse, inference profile and ARN as model")
def _(target):
    for model in ("us.anthropic.claude-3-5-sonnet-20240620-v1:0", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.mock"):
        expect_text(told(target, "whole", model))
        expect_text(told(target, "streamed", model))


@check("converse, limit of tokens and stop sequence, {}", BOTH)
def _(target, how):
    limited = told(target, how, "mock-long", inferenceConfig={"maxTokens": 5})
    expect_equal("stopReason", limited["stopReason"], "max_tokens")
    expect_equal("outputTokens", limited["usage"]["outputTokens"], 5)
    stopped = told(target, how, "mock-long", inferenceConfig={"maxTokens": 500, "stopSequences": ["e"]})
    expect_equal("stopReason", stopped["stopReason"], "stop_sequence")


@check("converse, image and document in")
def _(target):
    content = [
        {"image": {"format": "png", "source": {"bytes": PNG}}},
        {"document": {"format": "pdf", "name": "paper", "source": {"bytes": PDF}}},
        {"text": "What is this?"},
    ]
    expect_text(told(target, "whole", messages=[{"role": "user", "content": content}]))


@check("converse, cache points")
def _(target):
    system = [{"text": unique("Be brief.") * 200}, {"cachePoint": {"type": "default"}}]
    first, second = told(target, "whole", system=system), told(target, "streamed", system=system)
    for answer, part in ((first, "cacheWriteInputTokens"), (second, "cacheReadInputTokens")):
        expect_text(answer)
        expect(answer["usage"].get(part, 0) > 0, f"no {part} in {answer['usage']}")


def expect_call(use) -> None:
    expect(use["toolUseId"] and use["name"] == "get_weather", f"odd call {use}")
    expect_weather(use["input"])


@check("converse, tools, {}", BOTH)
def _(target, how):
    answer = told(target, how, "mock-tool-call", toolConfig=TOOLS)
    expect_equal("stopReason", answer["stopReason"], "tool_use")
    calls = blocks_of(answer, "toolUse")
    expect_equal("number of calls", len(calls), 1)
    expect_call(calls[0])


@check("converse, two tools at once, {}", BOTH)
def _(target, how):
    calls = blocks_of(told(target, how, "mock-tool-calls", toolConfig=TOOLS), "toolUse")
    expect_equal("number of calls", len(calls), 2)
    expect(calls[0]["toolUseId"] != calls[1]["toolUseId"], "both calls have one id")
    for call in calls:
        expect_call(call)


@check("converse, tools, round trip")
def _(target):
    messages = [{"role": "user", "content": [{"text": WEATHER}]}]
    first = told(target, "whole", "mock-tool-call", messages, toolConfig=TOOLS)
    use = blocks_of(first, "toolUse")[0]
    result = {"toolResult": {"toolUseId": use["toolUseId"], "content": [{"text": "20 degrees"}], "status": "success"}}
    messages = [*messages, first["output"]["message"], {"role": "user", "content": [result]}]
    expect_text(told(target, "whole", "mock-tool-call", messages, toolConfig=TOOLS))


@check("converse, tools, choice any and by name")
def _(target):
    for choice in ({"any": {}}, {"tool": {"name": "get_weather"}}):
        answer = told(target, "whole", toolConfig={**TOOLS, "toolChoice": choice})
        expect(blocks_of(answer, "toolUse"), f"no call in spite of {choice}")


@check("converse, thinking, {}", BOTH)
def _(target, how):
    answer = told(target, how, "mock-thinking")
    said = blocks_of(answer, "reasoningContent")
    expect(said, "no reasoning")
    block = said[0].get("reasoningText", said[0])
    expect(block.get("text") and block.get("signature"), f"odd reasoning {said[0]}")
    expect_text(answer)
    if how == "whole":
        messages = [*USER, answer["output"]["message"], {"role": "user", "content": [{"text": "And now?"}]}]
        on = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
        expect_text(told(target, how, messages=messages, additionalModelRequestFields=on))


@check("converse, thinking redacted, {}", BOTH)
def _(target, how):
    said = blocks_of(told(target, how, "mock-redacted"), "reasoningContent")
    expect(said and said[0].get("redactedContent"), f"odd reasoning {said}")


@check("count of input tokens, {}", ("converse", "invokeModel"))
def _(target, which):
    c = client(target)

    def count(text):
        messages = [{"role": "user", "content": [{"text": text}]}]
        if which == "converse":
            return c.count_tokens(modelId=MODEL, input={"converse": {"messages": messages}})["inputTokens"]
        body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": [{"role": "user", "content": text}]}
        return c.count_tokens(modelId=MODEL, input={"invokeModel": {"body": json.dumps(body).encode()}})["inputTokens"]

    few, many = count(PROMPT), count(PROMPT * 30)
    expect(0 < few < many, f"{few} tokens for a short text, {many} for a long one")


# What is sent to a model of this kind, and where its text stands, whole and in a chunk.
BODIES = {
    "anthropic": (MODEL, {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 32, "messages": [{"role": "user", "content": PROMPT}]}),
    "titan": ("amazon.titan-text-lite-v1", {"inputText": PROMPT, "textGenerationConfig": {"maxTokenCount": 32}}),
    "llama": ("meta.llama3-1-70b-instruct-v1:0", {"prompt": PROMPT, "max_gen_len": 32}),
    "nova": ("amazon.nova-micro-v1:0", {"schemaVersion": "messages-v1", "messages": USER, "inferenceConfig": {"max_new_tokens": 32}}),
}


def text_in(kind: str, part: dict) -> str:
    match kind:
        case "anthropic":
            return "".join(b.get("text", "") for b in part.get("content", [])) + part.get("delta", {}).get("text", "")
        case "titan":
            return "".join(r["outputText"] for r in part.get("results", [])) + part.get("outputText", "")
        case "llama":
            return part.get("generation", "")
        case _:
            blocks = part.get("output", {}).get("message", {}).get("content", [])
            delta = part.get("contentBlockDelta", {}).get("delta", {})
            return "".join(b.get("text", "") for b in blocks) + delta.get("text", "")


@check("invoke model, {}", BODIES)
def _(target, kind):
    model, body = BODIES[kind]
    response = client(target).invoke_model(modelId=model, body=json.dumps(body), contentType="application/json", accept="application/json")
    told = json.loads(response["body"].read())
    expect(text_in(kind, told), f"no text in {str(told)[:200]}")
    headers = response["ResponseMetadata"]["HTTPHeaders"]
    for name in ("input-token-count", "output-token-count", "invocation-latency"):
        expect(headers.get(f"x-amzn-bedrock-{name}", "").isdigit(), f"no x-amzn-bedrock-{name}")


@check("invoke model, streamed, {}", BODIES)
def _(target, kind):
    model, body = BODIES[kind]
    response = client(target).invoke_model_with_response_stream(modelId=model, body=json.dumps(body))
    parts = [json.loads(event["chunk"]["bytes"]) for event in response["body"]]
    expect("".join(text_in(kind, part) for part in parts), "no text")
    metrics = parts[-1].get("amazon-bedrock-invocationMetrics", {})
    expect(metrics.get("inputTokenCount") and metrics.get("outputTokenCount"), f"no metrics in the last chunk: {parts[-1]}")


@check("error {}", STATUSES)
def _(target, status):
    for how in BOTH:
        with raises(ClientError) as caught:
            told(target, how, f"mock-error-{status}")
        response = caught[0].response
        expect_equal("the status", response["ResponseMetadata"]["HTTPStatusCode"], status)
        expect_in("the code", response["Error"]["Code"], CODES[status])
        expect(response["Error"]["Message"], "no message")


@check("error 429 of invoke model, modelled exception")
def _(target):
    c = client(target)
    with raises(c.exceptions.ThrottlingException):
        c.invoke_model(modelId="anthropic.mock-error-429", body=json.dumps(BODIES["anthropic"][1]))


@check("missing model, bad key, request that cannot be")
def _(target):
    with raises(ClientError) as caught:
        told(target, "whole", "mock-missing")
    expect_equal("the status", caught[0].response["ResponseMetadata"]["HTTPStatusCode"], 404)
    with raises(ClientError) as caught:
        client(target, key="bad-key").converse(modelId=MODEL, messages=USER)
    expect_in("the status", caught[0].response["ResponseMetadata"]["HTTPStatusCode"], (401, 403))
    with raises(ClientError) as caught:
        told(target, "whole", messages=[])
    expect_equal("the code", caught[0].response["Error"]["Code"], "ValidationException")


@check("flaky server, with and without retries")
def _(target):
    def ask(text):
        return {"modelId": "mock-flaky", "messages": [{"role": "user", "content": [{"text": unique(text)}]}]}

    with raises(ClientError):
        client(target).converse(**ask("once"))
    answer = client(target, attempts=3).converse(**ask("again"))
    expect_text(answer)
    expect_equal("retries", answer["ResponseMetadata"]["RetryAttempts"], 1)


# The exception inside the stream that a model's name asks for.
INSIDE = {
    "mock-midstream-error": None,
    "mock-midstream-400": "validationException",
    "mock-midstream-429": "throttlingException",
    "mock-midstream-500": "internalServerException",
    "mock-midstream-503": "serviceUnavailableException",
}


@check("exception in the stream, {}", INSIDE)
def _(target, model):
    stream, kinds = client(target).converse_stream(modelId=model, messages=USER)["stream"], []
    with raises(EventStreamError) as caught:
        for event in stream:
            kinds += event
    expect("contentBlockDelta" in kinds, "no text before it")
    code = caught[0].response["Error"]["Code"]
    expect(code.endswith("Exception") and INSIDE[model] in (None, code), f"the code is {code!r}")


@check("exception in the stream of invoke model")
def _(target):
    stream = client(target).invoke_model_with_response_stream(
        modelId="anthropic.mock-midstream-429", body=json.dumps(BODIES["anthropic"][1])
    )["body"]
    with raises(EventStreamError) as caught:
        list(stream)
    expect_equal("the code", caught[0].response["Error"]["Code"], "throttlingException")


@check("stream that ends early")
def _(target):
    kinds = [kind for event in client(target).converse_stream(modelId="mock-truncate", messages=USER)["stream"] for kind in event]
    expect("contentBlockDelta" in kinds and "messageStop" not in kinds, f"the last event is {kinds[-1:]}")


@check("connection reset in mid-stream")
def _(target):
    with raises(Exception) as caught:
        list(client(target).converse_stream(modelId="mock-reset", messages=USER)["stream"])
    expect(not isinstance(caught[0], EventStreamError), f"raised {caught[0]!r}")


@check("cancel in mid-stream, then again")
def _(target):
    c = client(target)
    with at_once():
        stream = c.converse_stream(modelId="mock-long", messages=USER)["stream"]
        for _event in islice(stream, 4):
            pass
        stream.close()
    expect_text(c.converse(modelId=MODEL, messages=USER))


@check("time-out of the client")
def _(target):
    with raises(ReadTimeoutError, ConnectionClosedError, HTTPClientError):
        client(target, read_timeout=0.5).converse(modelId="mock-slow", messages=USER)
