"""Anthropic's messages through `anthropic`, also over Bedrock."""

from __future__ import annotations

import asyncio
import base64
from itertools import islice

import anthropic
from pydantic import BaseModel

from common import (
    DESCRIPTION,
    PDF,
    PNG_BASE64,
    PROMPT,
    SCHEMA,
    STATUSES,
    SYSTEM,
    WEATHER,
    Wrong,
    at_once,
    checks_of,
    expect,
    expect_equal,
    expect_in,
    expect_person,
    expect_weather,
    raises,
    unique,
)

check = checks_of("python anthropic")
USER = [{"role": "user", "content": PROMPT}]
TOOL = {"name": "get_weather", "description": DESCRIPTION, "input_schema": SCHEMA}
ASK = {"model": "mock", "max_tokens": 64, "messages": USER}
# The SDK's exception and Anthropic's own word.
KINDS = {
    400: (anthropic.BadRequestError, "invalid_request_error"),
    401: (anthropic.AuthenticationError, "authentication_error"),
    403: (anthropic.PermissionDeniedError, "permission_error"),
    404: (anthropic.NotFoundError, "not_found_error"),
    429: (anthropic.RateLimitError, "rate_limit_error"),
    500: (anthropic.InternalServerError, "api_error"),
    503: (anthropic.InternalServerError, None),
    529: (anthropic.InternalServerError, "overloaded_error"),
}


class Person(BaseModel):
    name: str
    age: int
    tags: list[str]


def client(target, **more) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=target.base, **{"api_key": target.key, "max_retries": 0, "timeout": target.timeout, **more})


def text_of(message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def expect_text(message, stop=("end_turn", "max_tokens")) -> None:
    expect(text_of(message), "no text")
    expect_in("stop_reason", message.stop_reason, stop)
    expect_equal("type and role", (message.type, message.role), ("message", "assistant"))
    expect(message.id.startswith("msg_") and message.model, f"id {message.id!r}, model {message.model!r}")
    expect(message.usage.input_tokens > 0 and message.usage.output_tokens > 0, f"usage {message.usage}")


def told(target, how: str, **ask):
    with client(target) as c:
        if how == "whole":
            return c.messages.create(**{**ASK, **ask})
        with c.messages.stream(**{**ASK, **ask}) as stream:
            return stream.get_final_message()


BOTH = ("whole", "streamed")


@check("message, whole")
def _(target):
    with client(target) as c:
        raw = c.messages.with_raw_response.create(**ASK, system=SYSTEM, extra_body={"temperature": 0.5}, metadata={"user_id": "u"})
    expect_text(raw.parse())
    expect(raw.http_response.headers.get("request-id"), "no request-id")


@check("message, streamed, events in order")
def _(target):
    with client(target) as c:
        events = list(c.messages.create(**ASK, stream=True))
    kinds = [event.type for event in events if event.type != "ping"]
    expect_equal("the first events", kinds[:2], ["message_start", "content_block_start"])
    expect_equal("the last events", kinds[-3:], ["content_block_stop", "message_delta", "message_stop"])
    expect(events[0].message.usage.input_tokens > 0, "no input tokens in message_start")
    delta = next(event for event in events if event.type == "message_delta")
    expect(delta.usage.output_tokens > 0 and delta.delta.stop_reason, f"odd message_delta {delta}")


@check("message, streamed through the accumulator")
def _(target):
    with client(target) as c, c.messages.stream(**ASK) as stream:
        text = "".join(stream.text_stream)
        expect_equal("the text", text, text_of(stream.get_final_message()))
        expect_text(stream.get_final_message())


@check("message, asynchronous client")
def _(target):
    async def run():
        async with anthropic.AsyncAnthropic(base_url=target.base, api_key=target.key, max_retries=0) as c:
            async with c.messages.stream(**ASK) as stream:
                return await stream.get_final_message()

    expect_text(asyncio.run(run()))


@check("beta and version headers")
def _(target):
    with client(target) as c:
        expect_text(c.beta.messages.create(**ASK, betas=["output-128k-2025-02-19"]))


@check("limit of tokens and stop sequence, {}", BOTH)
def _(target, how):
    limited = told(target, how, model="mock-long", max_tokens=5)
    expect_equal("stop_reason", limited.stop_reason, "max_tokens")
    expect_equal("output_tokens", limited.usage.output_tokens, 5)
    # The stop sequence: a letter that English cannot do without for long.
    stopped = told(target, how, model="mock-long", max_tokens=500, stop_sequences=["e"])
    expect_equal("stop_reason", stopped.stop_reason, "stop_sequence")
    expect_equal("stop_sequence", stopped.stop_sequence, "e")
    expect("e" not in text_of(stopped), "the stop sequence is in the text")


@check("image and document in")
def _(target):
    content = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG_BASE64}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(PDF).decode()}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Some text."}, "citations": {"enabled": False}},
        {"type": "text", "text": "What is this?"},
    ]
    expect_text(told(target, "whole", messages=[{"role": "user", "content": content}]))


@check("prompt cache marks")
def _(target):
    system = [{"type": "text", "text": unique("Be brief. ") * 200, "cache_control": {"type": "ephemeral"}}]
    first = told(target, "whole", system=system)
    expect_text(first)
    usage = first.usage
    expect(usage.cache_creation_input_tokens is not None and usage.cache_read_input_tokens is not None, "no cache classes in usage")


def calls_of(message) -> list:
    return [block for block in message.content if block.type == "tool_use"]


def expect_call(block) -> None:
    expect(block.id.startswith("toolu_") and block.name == "get_weather", f"odd call {block}")
    expect_weather(block.input)


@check("tools, {}", BOTH)
def _(target, how):
    message = told(target, how, model="mock-tool-call", tools=[TOOL])
    expect_equal("stop_reason", message.stop_reason, "tool_use")
    expect_equal("number of calls", len(calls_of(message)), 1)
    expect_call(calls_of(message)[0])


@check("tools, arguments in pieces")
def _(target):
    with client(target) as c:
        events = list(c.messages.create(**{**ASK, "model": "mock-tool-call"}, tools=[TOOL], stream=True))
    pieces = [e.delta.partial_json for e in events if e.type == "content_block_delta" and e.delta.type == "input_json_delta"]
    expect(len(pieces) > 1, "arguments are not streamed in pieces")
    expect_weather("".join(pieces))


@check("tools, two at once, {}", BOTH)
def _(target, how):
    calls = calls_of(told(target, how, model="mock-tool-calls", tools=[TOOL]))
    expect_equal("number of calls", len(calls), 2)
    expect(calls[0].id != calls[1].id, "both calls have one id")
    for call in calls:
        expect_call(call)


@check("tools, round trip")
def _(target):
    messages = [{"role": "user", "content": WEATHER}]
    first = told(target, "whole", model="mock-tool-call", messages=messages, tools=[TOOL])
    result = {"type": "tool_result", "tool_use_id": calls_of(first)[0].id, "content": "20 degrees"}
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    expect_text(told(target, "whole", model="mock-tool-call", messages=messages, tools=[TOOL]))


@check("tools, choice none, any and by name")
def _(target):
    other = {"name": "other", "input_schema": {"type": "object", "properties": {}}}
    none = told(target, "whole", model="mock-tool-call", tools=[TOOL], tool_choice={"type": "none"})
    expect(text_of(none) and not calls_of(none), "called in spite of `none`")
    named = told(target, "whole", tools=[other, TOOL], tool_choice={"type": "tool", "name": "get_weather"})
    expect_equal("the tool called", [call.name for call in calls_of(named)], ["get_weather"])
    expect(calls_of(told(target, "whole", tools=[TOOL], tool_choice={"type": "any"})), "no call in spite of `any`")


@check("thinking by name, {}", BOTH)
def _(target, how):
    message = told(target, how, model="mock-thinking")
    expect_equal("the first block", message.content[0].type, "thinking")
    expect(message.content[0].thinking and message.content[0].signature, "no thinking or no signature")
    expect_text(message)


@check("thinking asked for, and sent back")
def _(target):
    on = {"type": "enabled", "budget_tokens": 1024}
    message = told(target, "streamed", max_tokens=2048, thinking=on)
    expect_equal("the first block", message.content[0].type, "thinking")
    expect(message.content[0].thinking and message.content[0].signature, "no thinking or no signature")
    messages = [*USER, {"role": "assistant", "content": message.content}, {"role": "user", "content": "And now?"}]
    expect_text(told(target, "whole", max_tokens=2048, thinking=on, messages=messages))


@check("thinking redacted, {}", BOTH)
def _(target, how):
    message = told(target, how, model="mock-redacted")
    hidden = [block for block in message.content if block.type == "redacted_thinking"]
    expect(hidden and hidden[0].data, f"blocks {[block.type for block in message.content]}")


@check("JSON by schema")
def _(target):
    with client(target) as c:
        message = c.messages.parse(**ASK | {"max_tokens": 500}, output_format=Person)
    expect(isinstance(message.parsed_output, Person), f"parsed is {message.parsed_output!r}")
    expect_person(text_of(message))


@check("refusal, {}", BOTH)
def _(target, how):
    expect_equal("stop_reason", told(target, how, model="mock-refusal").stop_reason, "refusal")


@check("count of input tokens")
def _(target):
    with client(target) as c:
        few = c.messages.count_tokens(model="mock", messages=USER).input_tokens
        many = c.messages.count_tokens(model="mock", messages=[{"role": "user", "content": PROMPT * 30}], tools=[TOOL]).input_tokens
    expect(0 < few < many, f"{few} tokens for a short text, {many} for a long one")


@check("models")
def _(target):
    with client(target) as c:
        names = [model.id for model in c.models.list()]
        for name in ("mock", "mock-thinking", "mock-error-529"):
            expect(name in names, f"{name} is not listed")
        expect(c.models.retrieve("mock").display_name, "no display name")


@check("error {}", STATUSES)
def _(target, status):
    kind, word = KINDS[status]
    with client(target) as c:
        for stream in (False, True):
            with raises(kind, status=status) as caught:
                c.messages.create(**{**ASK, "model": f"mock-error-{status}"}, stream=stream)
            error = caught[0]
            expect(isinstance(error.body, dict) and error.body.get("type") == "error", f"odd body {error.body!r}")
            expect(error.body["error"].get("message"), "no message")
            expect(error.request_id, "no request-id")
            if word:
                expect_equal("the error's type", error.body["error"].get("type"), word)
            if status == 429:
                expect(float(error.response.headers.get("retry-after", "0")) > 0, "no retry-after")


@check("missing model, bad key, request that cannot be")
def _(target):
    with client(target) as c, raises(anthropic.NotFoundError, status=404):
        c.messages.create(**{**ASK, "model": "mock-missing"})
    with client(target, api_key="bad-key") as c, raises(anthropic.AuthenticationError, status=401):
        c.messages.create(**ASK)
    with client(target) as c, raises(anthropic.BadRequestError, status=400):
        c.messages.create(**{**ASK, "messages": []})


@check("flaky server, with and without retries")
def _(target):
    def ask(text):
        return {**ASK, "model": "mock-flaky", "messages": [{"role": "user", "content": unique(text)}]}

    with client(target) as c, raises(anthropic.InternalServerError, status=500):
        c.messages.create(**ask("once"))
    with client(target, max_retries=2) as c:
        expect_text(c.messages.create(**ask("again")))
        with c.messages.stream(**ask("streamed")) as stream:
            expect_text(stream.get_final_message())


@check("error in mid-stream, {}", ("error", "429", "500", "503"))
def _(target, what):
    with client(target) as c:
        stream, deltas = c.messages.create(**{**ASK, "model": f"mock-midstream-{what}"}, stream=True), 0
        with raises(anthropic.APIStatusError) as caught:
            for event in stream:
                deltas += event.type == "content_block_delta"
    expect(deltas, "no text before the error")
    expect((caught[0].body or {}).get("error", {}).get("message"), f"odd body {caught[0].body!r}")


@check("stream that ends early")
def _(target):
    with client(target) as c:
        kinds = [event.type for event in c.messages.create(**{**ASK, "model": "mock-truncate"}, stream=True)]
    expect("content_block_delta" in kinds and "message_stop" not in kinds, f"the last event is {kinds[-1]}")


@check("connection reset in mid-stream")
def _(target):
    with client(target) as c:
        with raises(Exception) as caught:
            list(c.messages.create(**{**ASK, "model": "mock-reset"}, stream=True))
    expect(not isinstance(caught[0], (anthropic.APIStatusError, Wrong)), f"raised {caught[0]!r}")


@check("cancel in mid-stream, then again")
def _(target):
    with client(target) as c:
        with at_once(), c.messages.create(**{**ASK, "model": "mock-long", "max_tokens": 1000}, stream=True) as stream:
            for _event in islice(stream, 5):
                pass
        expect_text(c.messages.create(**ASK))


@check("time-out of the client")
def _(target):
    with client(target, timeout=0.5) as c, raises(anthropic.APITimeoutError):
        c.messages.create(**{**ASK, "model": "mock-slow"})


@check("over Bedrock, {}", ("whole", "streamed", "tools", "error 429"))
def _(target, case):
    keys = {"aws_access_key": "AKIDEXAMPLE", "aws_secret_key": "simulated", "aws_region": "us-east-1"}
    ask = {**ASK, "model": "anthropic.claude-3-haiku-20240307-v1:0"}
    with anthropic.AnthropicBedrock(base_url=target.base, max_retries=0, timeout=target.timeout, **keys) as c:
        if case == "whole":
            expect_text(c.messages.create(**ask))
        elif case == "streamed":
            with c.messages.stream(**ask) as stream:
                expect_text(stream.get_final_message())
        elif case == "tools":
            ask |= {"model": "anthropic.mock-tool-call", "tools": [TOOL]}
            with c.messages.stream(**ask) as stream:
                expect_weather(calls_of(stream.get_final_message())[0].input)
        else:
            with raises(anthropic.RateLimitError, status=429):
                c.messages.create(**ask | {"model": "anthropic.mock-error-429"})
