"""Do the vendors' own SDKs accept what the simulated vendors send?

Calls chat through the four official SDKs against one base URL, whole and streamed, plain and with a
system prompt and a tool, and checks what each SDK hands to its user. Prints a table; exits 1 if any
check failed, 2 if the server does not answer at all.

    llms-bench mock serve --port 8123 &
    python check_mock.py http://127.0.0.1:8123

Paths: OpenAI below `BASE/v1`, Anthropic, Bedrock and Ollama below `BASE`. Any server that speaks one
of the protocols can be checked the same way: `--only ollama --model ollama=llama3.2 http://127.0.0.1:11434`.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import anthropic
import boto3
import ollama
import openai
from botocore.config import Config

SYSTEM = "Answer in one short sentence."
PROMPT = "Say hello."
DESCRIPTION = "Current weather of a city"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
MAX_TOKENS = 64
MODELS = {
    "openai": "gpt-4o-mini",
    "anthropic": "claude-haiku-4-5",
    "bedrock": "anthropic.claude-3-haiku-20240307-v1:0",
    "ollama": "llama3.2",
}
# The vendors' words for an answer that ended as it should; a tool call ends with the last one.
FINISH = {
    "openai": {"stop", "length", "tool_calls"},
    "anthropic": {"end_turn", "max_tokens", "stop_sequence", "tool_use"},
    "bedrock": {"end_turn", "max_tokens", "stop_sequence", "tool_use"},
    "ollama": {"stop", "length"},
}


@dataclass
class Reply:
    """What an SDK handed out, in the words of this check."""

    text: str
    tool_calls: int
    finish: str | None
    input_tokens: int | None
    output_tokens: int | None
    model: str | None = None
    has_model: bool = True
    id: str | None = None
    has_id: bool = True
    pieces: int | None = None  # text-bearing pieces of a stream; None for a whole answer
    problems: list[str] = field(default_factory=list)  # what only this protocol can tell


@dataclass
class Target:
    """Where to call, and with what."""

    base: str
    model: str
    key: str
    timeout: float


def call_openai(target: Target, stream: bool, full: bool) -> Reply:
    client = openai.OpenAI(base_url=f"{target.base}/v1", api_key=target.key, max_retries=0, timeout=target.timeout)
    function = {"name": "get_weather", "description": DESCRIPTION, "parameters": SCHEMA}
    request = {
        "model": target.model,
        "messages": [{"role": "system", "content": SYSTEM}] * full + [{"role": "user", "content": PROMPT}],
        "max_tokens": MAX_TOKENS,
        **({"tools": [{"type": "function", "function": function}]} if full else {}),
    }
    with client:
        if not stream:
            return openai_reply(client.chat.completions.create(**request), None, [])
        chunks = []
        request["extra_body"] = {"tools": request.pop("tools")} if full else {}
        with client.chat.completions.stream(**request, stream_options={"include_usage": True}) as events:
            for event in events:
                if event.type == "chunk":
                    chunks.append(event.chunk)
            # Not get_final_completion(): it raises for finish reason `length`.
            final = events.current_completion_snapshot
    problems = []
    if any(chunk.usage for chunk in chunks[:-1]):
        problems.append("usage is not in the last chunk only")
    if chunks and chunks[-1].choices:
        problems.append("the usage chunk has choices")
    if len({chunk.id for chunk in chunks}) > 1:
        problems.append("the id changes between chunks")
    pieces = sum(bool(choice.delta.content) for chunk in chunks for choice in chunk.choices)
    return openai_reply(final, pieces, problems)


def openai_reply(completion, pieces: int | None, problems: list[str]) -> Reply:
    choice, usage = completion.choices[0], completion.usage
    if usage and usage.total_tokens != usage.prompt_tokens + usage.completion_tokens:
        problems.append("total_tokens is not the sum")
    return Reply(
        text=choice.message.content or "",
        tool_calls=len(choice.message.tool_calls or []),
        finish=choice.finish_reason,
        input_tokens=usage.prompt_tokens if usage else None,
        output_tokens=usage.completion_tokens if usage else None,
        model=completion.model,
        id=completion.id,
        pieces=pieces,
        problems=problems,
    )


def call_anthropic(target: Target, stream: bool, full: bool) -> Reply:
    client = anthropic.Anthropic(base_url=target.base, api_key=target.key, max_retries=0, timeout=target.timeout)
    tool = {"name": "get_weather", "description": DESCRIPTION, "input_schema": SCHEMA}
    request = {
        "model": target.model,
        "max_tokens": MAX_TOKENS,
        "messages": [{"role": "user", "content": PROMPT}],
        **({"system": SYSTEM, "tools": [tool]} if full else {}),
    }
    kinds: list[str] = []
    with client:
        if stream:
            with client.messages.stream(**request) as events:
                kinds = [event.type for event in events]
                message = events.get_final_message()
        else:
            message = client.messages.create(**request)
    problems = []
    if stream and kinds[-1:] != ["message_stop"]:
        problems.append(f"the stream ends in {kinds[-1:]}, not in message_stop")
    return Reply(
        text="".join(block.text for block in message.content if block.type == "text"),
        tool_calls=sum(block.type == "tool_use" for block in message.content),
        finish=message.stop_reason,
        input_tokens=message.usage.input_tokens,
        output_tokens=message.usage.output_tokens,
        model=message.model,
        id=message.id,
        pieces=kinds.count("text") if stream else None,
        problems=problems,
    )


def call_bedrock(target: Target, stream: bool, full: bool) -> Reply:
    client = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=target.base,
        aws_access_key_id=target.key,
        aws_secret_access_key=target.key,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=target.timeout, connect_timeout=target.timeout),
    )
    spec = {"name": "get_weather", "description": DESCRIPTION, "inputSchema": {"json": SCHEMA}}
    request = {
        "modelId": target.model,
        "messages": [{"role": "user", "content": [{"text": PROMPT}]}],
        "inferenceConfig": {"maxTokens": MAX_TOKENS},
        **({"system": [{"text": SYSTEM}], "toolConfig": {"tools": [{"toolSpec": spec}]}} if full else {}),
    }
    try:
        if stream:
            return bedrock_stream(client.converse_stream(**request)["stream"])
        response = client.converse(**request)
    finally:
        client.close()
    blocks = response["output"]["message"]["content"]
    return Reply(
        text="".join(block.get("text", "") for block in blocks),
        tool_calls=sum("toolUse" in block for block in blocks),
        finish=response["stopReason"],
        input_tokens=response["usage"]["inputTokens"],
        output_tokens=response["usage"]["outputTokens"],
        has_model=False,
        has_id=False,
        problems=[] if response.get("metrics", {}).get("latencyMs") is not None else ["no metrics.latencyMs"],
    )


def bedrock_stream(events) -> Reply:
    reply = Reply("", 0, None, None, None, has_model=False, has_id=False, pieces=0)
    kinds = []
    for event in events:
        (kind, body), = event.items()
        kinds.append(kind)
        if kind == "contentBlockStart":
            reply.tool_calls += "toolUse" in body["start"]
        elif kind == "contentBlockDelta" and body["delta"].get("text"):
            reply.text += body["delta"]["text"]
            reply.pieces += 1
        elif kind == "messageStop":
            reply.finish = body["stopReason"]
        elif kind == "metadata":
            reply.input_tokens, reply.output_tokens = body["usage"]["inputTokens"], body["usage"]["outputTokens"]
    if kinds[:1] != ["messageStart"]:
        reply.problems.append(f"the stream begins with {kinds[:1]}")
    if kinds[-2:] != ["messageStop", "metadata"]:
        reply.problems.append(f"the stream ends in {kinds[-2:]}, not in messageStop and metadata")
    return reply


def call_ollama(target: Target, stream: bool, full: bool) -> Reply:
    headers = {"authorization": f"Bearer {target.key}"}
    client = ollama.Client(host=target.base, timeout=target.timeout, headers=headers)
    function = {"name": "get_weather", "description": DESCRIPTION, "parameters": SCHEMA}
    reply = client.chat(
        model=target.model,
        messages=[{"role": "system", "content": SYSTEM}] * full + [{"role": "user", "content": PROMPT}],
        tools=[{"type": "function", "function": function}] if full else None,
        stream=stream,
        options={"num_predict": MAX_TOKENS},
    )
    parts = list(reply) if stream else [reply]
    last, problems = parts[-1], []
    if not last.done:
        problems.append("no line says done: true")
    if any(part.done for part in parts[:-1]):
        problems.append("lines follow after done: true")
    if last.eval_duration is None or last.total_duration is None:
        problems.append("no durations")
    return Reply(
        text="".join(part.message.content or "" for part in parts),
        tool_calls=sum(len(part.message.tool_calls or []) for part in parts),
        finish=last.done_reason,
        input_tokens=last.prompt_eval_count,
        output_tokens=last.eval_count,
        model=last.model,
        has_id=False,
        pieces=sum(bool(part.message.content) for part in parts) if stream else None,
        problems=problems,
    )


CALLS = {"openai": call_openai, "anthropic": call_anthropic, "bedrock": call_bedrock, "ollama": call_ollama}


def problems_of(provider: str, reply: Reply) -> list[str]:
    """What is wrong with a reply; an empty list is a pass."""
    found = list(reply.problems)
    if not reply.text and not reply.tool_calls:
        found.append("no text")
    if not reply.input_tokens:
        found.append("no input tokens in usage")
    if not reply.output_tokens:
        found.append("no output tokens in usage")
    elif reply.output_tokens > MAX_TOKENS:
        found.append(f"{reply.output_tokens} output tokens, {MAX_TOKENS} were asked for")
    if reply.finish not in FINISH[provider]:
        found.append(f"finish {reply.finish!r}, expected one of {sorted(FINISH[provider])}")
    if reply.has_model and not reply.model:
        found.append("no model")
    if reply.has_id and not reply.id:
        found.append("no id")
    if reply.pieces is not None and reply.text and (reply.output_tokens or 0) > 1 and reply.pieces < 2:
        found.append("the stream came in one piece")
    return found


def reachable(base: str) -> bool:
    parts = urlsplit(base)
    try:
        socket.create_connection((parts.hostname, parts.port or 80), timeout=5).close()
    except OSError as error:
        print(f"cannot connect to {base} ({error}); start `llms-bench mock serve --port N` first", file=sys.stderr)
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("base", help="base URL, as http://127.0.0.1:8123")
    parser.add_argument("--only", action="append", choices=CALLS, help="only this SDK (repeatable)")
    parser.add_argument("--model", action="append", default=[], metavar="SDK=NAME", help="another model name")
    parser.add_argument("--key", default="simulated", help="API key sent")
    parser.add_argument("--timeout", type=float, default=30, help="seconds a call may take")
    parser.add_argument("--repeat", type=int, default=1, help="calls of each kind, one after the other")
    args = parser.parse_args()
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("AWS_", "OPENAI_", "ANTHROPIC_", "OLLAMA_")):
            del os.environ[name]
    models = MODELS | dict(pair.split("=", 1) for pair in args.model)
    base = args.base.rstrip("/")
    if not reachable(base):
        return 2

    failed = 0
    row = "{:<10} {:<7} {:<12} {:<5} {:>6} {:>5} {:>5} {:>6} {:<12} {}".format
    print(row("sdk", "mode", "request", "", "ms", "in", "out", "pieces", "finish", "text or what is wrong"))
    for provider in args.only or CALLS:
        target = Target(base, models[provider], args.key, args.timeout)
        for stream in (False, True):
            for full in (False, True) * args.repeat:
                began = time.monotonic()
                try:
                    reply = CALLS[provider](target, stream, full)
                    wrong = problems_of(provider, reply)
                except Exception as error:  # whatever an SDK raises is the finding
                    reply, wrong = None, [f"{type(error).__name__}: {error}"]
                failed += bool(wrong)
                ms = round((time.monotonic() - began) * 1000)
                shown = (reply.input_tokens, reply.output_tokens, reply.pieces, reply.finish) if reply else (None,) * 4
                cells = ["-" if value is None else value for value in shown]
                text = "; ".join(wrong) if wrong else repr(reply.text[:40])
                kind = "system+tool" if full else "plain"
                print(row(provider, "stream" if stream else "whole", kind, "FAIL" if wrong else "ok", ms, *cells, text))
    print(f"{failed} failed" if failed else "all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
