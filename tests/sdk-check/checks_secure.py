"""Over HTTPS, to a server that knows one pair of AWS credentials: what plain HTTP cannot show.

boto3 sends a bearer key over HTTPS only; signatures are checked only where the server has the secret.
"""

from __future__ import annotations

import os
import subprocess
import sys

import anthropic
import ollama
import openai
from botocore.exceptions import ClientError

import checks_anthropic
import checks_bedrock
import checks_openai
from checks_bedrock import MODEL, USER
from common import PROMPT, checks_of, expect, expect_equal, expect_in, raises

check = checks_of("python https")


@check("openai")
def _(target):
    ask = {"model": "mock", "messages": checks_openai.USER}
    with checks_openai.client(target.secure()) as c:
        checks_openai.expect_text(c.chat.completions.create(**ask))
        expect(list(c.chat.completions.create(**ask, stream=True)), "no chunks")


@check("anthropic")
def _(target):
    with checks_anthropic.client(target.secure()) as c, c.messages.stream(**checks_anthropic.ASK) as stream:
        checks_anthropic.expect_text(stream.get_final_message())


@check("ollama")
def _(target):
    told = ollama.Client(host=target.secure().base).chat(model="mock", messages=[{"role": "user", "content": PROMPT}])
    expect(told.message.content, "no text")


def signing(target, **more):
    key, secret = target.pair
    return checks_bedrock.client(target.secure(secret), **{"key": key, **more})


# What stands in the path is signed too: a colon, a slash, an ARN.
PATHS = {
    "plain": "mock",
    "colon": MODEL,
    "ARN": "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.mock",
}


@check("boto3, signature of a path, {}", PATHS)
def _(target, path):
    checks_bedrock.expect_text(signing(target).converse(modelId=PATHS[path], messages=USER))
    answer = checks_bedrock.joined(signing(target).converse_stream(modelId=PATHS[path], messages=USER)["stream"])
    checks_bedrock.expect_text(answer)


@check("boto3, wrong secret and unknown key")
def _(target):
    with raises(ClientError) as caught:
        checks_bedrock.client(target.secure("wrong"), key=target.pair[0]).converse(modelId=MODEL, messages=USER)
    expect_equal("the status", caught[0].response["ResponseMetadata"]["HTTPStatusCode"], 403)
    expect_equal("the code", caught[0].response["Error"]["Code"], "InvalidSignatureException")
    with raises(ClientError) as caught:
        signing(target, key="AKIDUNKNOWN").converse(modelId=MODEL, messages=USER)
    expect_equal("the code", caught[0].response["Error"]["Code"], "UnrecognizedClientException")


@check("anthropic over Bedrock, signature right and wrong")
def _(target):
    key, secret = target.pair
    ask = {**checks_anthropic.ASK, "model": MODEL}
    common = {"base_url": target.secure().base, "aws_access_key": key, "aws_region": "us-east-1", "max_retries": 0}
    with anthropic.AnthropicBedrock(aws_secret_key=secret, **common) as c:
        checks_anthropic.expect_text(c.messages.create(**ask))
    with anthropic.AnthropicBedrock(aws_secret_key="wrong", **common) as c:
        with raises(anthropic.PermissionDeniedError, status=403):
            c.messages.create(**ask)


@check("boto3, bearer key, good and bad")
def _(target):
    # boto3 takes the key from the environment only, which is the whole process's: one of its own.
    def status(key: str) -> str:
        env = {**os.environ, "AWS_BEARER_TOKEN_BEDROCK": key, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": target.secure().base}
        run = subprocess.run([sys.executable, "-c", BEARER, MODEL], env=env, capture_output=True, text=True, timeout=60)
        expect_equal("exit code", (run.returncode, run.stderr[-200:]), (0, ""))
        return run.stdout.strip()

    expect_equal("the status with a key", status("simulated"), "200")
    expect_in("the status with a bad key", status("bad-key"), ("401", "403"))


BEARER = """
import sys, boto3, botocore
try:
    client = boto3.client("bedrock-runtime", region_name="us-east-1")
    told = client.converse(modelId=sys.argv[1], messages=[{"role": "user", "content": [{"text": "hello"}]}])
except botocore.exceptions.ClientError as error:
    told = error.response
print(told["ResponseMetadata"]["HTTPStatusCode"])
"""


@check("a client that does not know the certificate refuses it")
def _(target):
    import httpx2

    http = httpx2.Client(verify=True, trust_env=False)
    with checks_openai.client(target.secure(), http_client=http) as c, raises(openai.APIConnectionError):
        c.chat.completions.create(model="mock", messages=checks_openai.USER)
