"""Token counts asked of the service: OpenAI's `responses/input_tokens`, Anthropic's and Bedrock's `count_tokens`.

An entry: `stream` (false), `status`, `input_tokens`, `request_id`; or a refusal as everywhere.
"""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace

import anthropic
import openai
from botocore.exceptions import ClientError

import truth_anthropic
import truth_bedrock
import truth_bedrock_invoke
import truth_openai


def counted(tokens: int, request_id: str | None) -> dict:
    return {"stream": False, "status": 200, "input_tokens": tokens, "request_id": request_id}


def call_openai(recording: dict, url: str) -> dict:
    body = json.loads(recording["request"]["body"])
    with openai.OpenAI(base_url=f"{url}/v1", api_key="replayed", max_retries=0, timeout=30) as client:
        try:
            raw = client.responses.input_tokens.with_raw_response.count(extra_body=body)
            return counted(raw.parse().input_tokens, raw.http_response.headers.get("x-request-id"))
        except openai.APIStatusError as error:
            return truth_openai.failed(error, False)


def call_anthropic(recording: dict, url: str) -> dict:
    body = json.loads(recording["request"]["body"])
    known = {key: body.pop(key) for key in ("model", "messages")}
    with anthropic.Anthropic(api_key="replayed", base_url=url, max_retries=0, timeout=30) as client:
        messages = client.beta.messages if "beta=true" in recording["request"]["path"] else client.messages
        try:
            raw = messages.with_raw_response.count_tokens(**known, extra_body=body)
            return counted(raw.parse().input_tokens, raw.http_response.headers.get("request-id"))
        except anthropic.APIStatusError as error:
            return truth_anthropic.failed(error, False)


def call_bedrock(recording: dict, url: str) -> dict:
    request = truth_bedrock.blobs(json.loads(recording["request"]["body"]))
    if "invokeModel" in request["input"]:
        body = base64.b64decode(request["input"]["invokeModel"]["body"])
        request["input"] = {"invokeModel": {"body": body}}
    client = truth_bedrock_invoke.client_for(url)
    try:
        told = client.count_tokens(modelId=truth_bedrock_invoke.model_of(recording), **request)
        return counted(told["inputTokens"], told["ResponseMetadata"].get("RequestId"))
    except ClientError as error:
        return truth_bedrock.failed(error, False)
    finally:
        client.close()


def driver(sdk, endpoints: tuple[str, ...], call) -> SimpleNamespace:
    """A driver as the other modules are one."""
    return SimpleNamespace(
        NAME=sdk.NAME,
        VERSION=sdk.VERSION,
        FILE="count-tokens",
        EXPECTED="count-tokens.expected.json",
        ENDPOINTS=endpoints,
        call=call,
    )


OPENAI = driver(truth_openai, ("/v1/responses/input_tokens",), call_openai)
ANTHROPIC = driver(truth_anthropic, ("/v1/messages/count_tokens",), call_anthropic)
BEDROCK = driver(truth_bedrock, ("/model/*/count-tokens",), call_bedrock)
