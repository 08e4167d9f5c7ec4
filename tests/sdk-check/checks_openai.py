"""OpenAI's and Azure's chat completions, legacy completions and model lists through `openai`."""

from __future__ import annotations

import asyncio
import json
from itertools import islice

import openai
from pydantic import BaseModel

from common import (
    ANSWER_SCHEMA,
    DESCRIPTION,
    PNG_BASE64,
    PROMPT,
    SCHEMA,
    STATUSES,
    SYSTEM,
    WEATHER,
    Target,
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

check = checks_of("python openai")
USER = [{"role": "user", "content": PROMPT}]
TOOL = {"type": "function", "function": {"name": "get_weather", "description": DESCRIPTION, "parameters": SCHEMA}}
KINDS = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    503: openai.InternalServerError,
    529: openai.InternalServerError,
}


class Person(BaseModel):
    name: str
    age: int
    tags: list[str]


def client(target: Target, **more) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{target.base}/v1", **{"api_key": target.key, "max_retries": 0, "timeout": target.timeout, **more})


def azure(target: Target, **more) -> openai.AzureOpenAI:
    common = {"api_key": target.key, "max_retries": 0, "timeout": target.timeout, **more}
    return openai.AzureOpenAI(azure_endpoint=target.base, api_version="2024-10-21", **common)


def expect_usage(usage) -> None:
    expect(usage is not None, "no usage")
    expect(usage.prompt_tokens > 0 and usage.completion_tokens > 0, f"usage without tokens: {usage}")
    expect_equal("total_tokens", usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)


def expect_text(completion, finish=("stop", "length")) -> None:
    choice = completion.choices[0]
    expect(choice.message.content, "no text")
    expect_in("finish_reason", choice.finish_reason, finish)
    expect_equal("object", completion.object, "chat.completion")
    expect(completion.id and completion.model and completion.created, "no id, model or time")
    expect_usage(completion.usage)


@check("chat, whole")
def _(target):
    messages = [{"role": "system", "content": SYSTEM}, *USER]
    with client(target) as c:
        raw = c.chat.completions.with_raw_response.create(model="mock", messages=messages, temperature=0.2, seed=7, user="u")
        expect_text(raw.parse())
        expect(raw.request_id, "no x-request-id")
        expect_equal("model", raw.parse().model, "mock")


@check("chat, streamed with usage")
def _(target):
    with client(target) as c:
        chunks = list(c.chat.completions.create(model="mock", messages=USER, stream=True, stream_options={"include_usage": True}))
    expect("".join(ch.choices[0].delta.content or "" for ch in chunks if ch.choices), "no text")
    expect(not any(ch.usage for ch in chunks[:-1]), "usage is not in the last chunk only")
    expect(not chunks[-1].choices, "the usage chunk has choices")
    expect_usage(chunks[-1].usage)
    expect_equal("ids of chunks", len({ch.id for ch in chunks}), 1)
    expect_equal("objects of chunks", {ch.object for ch in chunks}, {"chat.completion.chunk"})
    expect_equal("role of the first delta", chunks[0].choices[0].delta.role, "assistant")
    finishes = [ch.choices[0].finish_reason for ch in chunks if ch.choices]
    expect(finishes[-1] in ("stop", "length") and not any(finishes[:-1]), f"finish reasons {finishes[-3:]}")


@check("chat, streamed without usage")
def _(target):
    with client(target) as c:
        chunks = list(c.chat.completions.create(model="mock", messages=USER, stream=True))
    expect(not any(ch.usage for ch in chunks), "usage that nobody asked for")
    expect(all(ch.choices for ch in chunks), "a chunk without choices")


@check("chat, streamed through the accumulator")
def _(target):
    with client(target) as c, c.chat.completions.stream(model="mock", messages=USER, stream_options={"include_usage": True}) as stream:
        kinds = {event.type for event in stream}
        expect_text(stream.current_completion_snapshot)
    expect("content.delta" in kinds and "content.done" in kinds, f"events {sorted(kinds)}")


@check("chat, asynchronous client")
def _(target):
    async def both():
        async with openai.AsyncOpenAI(base_url=f"{target.base}/v1", api_key=target.key, max_retries=0) as c:
            whole, stream = await asyncio.gather(
                c.chat.completions.create(model="mock", messages=USER),
                c.chat.completions.create(model="mock", messages=USER, stream=True),
            )
            return whole, [chunk async for chunk in stream]

    whole, chunks = asyncio.run(both())
    expect_text(whole)
    expect(chunks, "no chunks")


@check("chat, limit of tokens and stop sequence")
def _(target):
    with client(target) as c:
        limited = c.chat.completions.create(model="mock-long", messages=USER, max_completion_tokens=5)
        expect_equal("finish_reason", limited.choices[0].finish_reason, "length")
        expect_equal("completion_tokens", limited.usage.completion_tokens, 5)
        # A letter that English cannot do without for long.
        stopped = c.chat.completions.create(model="mock-long", messages=USER, max_tokens=500, stop=["e"]).choices[0]
    expect_equal("finish_reason", stopped.finish_reason, "stop")
    expect("e" not in (stopped.message.content or ""), "the stop sequence is in the text")


@check("chat, parameters that servers may ignore")
def _(target):
    with client(target) as c:
        more = {"ignore_eos": True, "min_tokens": 3, "top_k": 5}
        told = c.chat.completions.create(
            model="mock", messages=USER, max_tokens=8, n=1, logit_bias={"1": 1}, presence_penalty=0.1, service_tier="auto",
            metadata={"a": "b"}, store=False, extra_body=more, extra_headers={"x-extra": "1"},
        )
    expect_text(told)
    expect_equal("completion_tokens with ignore_eos", told.usage.completion_tokens, 8)


@check("image in")
def _(target):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG_BASE64}", "detail": "low"}},
    ]
    with client(target) as c:
        expect_text(c.chat.completions.create(model="mock", messages=[{"role": "user", "content": parts}]))


def expect_call(call) -> None:
    expect(call.id and call.type == "function" and call.function.name == "get_weather", f"odd call {call}")
    expect_weather(call.function.arguments)


@check("tools, whole")
def _(target):
    with client(target) as c:
        told = c.chat.completions.create(model="mock-tool-call", messages=USER, tools=[TOOL])
    expect_equal("finish_reason", told.choices[0].finish_reason, "tool_calls")
    expect_equal("number of calls", len(told.choices[0].message.tool_calls or []), 1)
    expect_call(told.choices[0].message.tool_calls[0])
    expect_usage(told.usage)


@check("tools, streamed in pieces")
def _(target):
    with client(target) as c:
        chunks = list(c.chat.completions.create(model="mock-tool-call", messages=USER, tools=[TOOL], stream=True))
        with c.chat.completions.stream(model="mock-tool-call", messages=USER, tools=[TOOL]) as stream:
            final = stream.get_final_completion()
    deltas = [d for ch in chunks for choice in ch.choices for d in choice.delta.tool_calls or []]
    expect(len(deltas) > 1, "arguments are not streamed in pieces")
    expect(deltas[0].id and deltas[0].function.name == "get_weather", f"first delta {deltas[0]}")
    expect(not any(d.id or d.function.name for d in deltas[1:]), "id or name after the first delta")
    expect_weather("".join(d.function.arguments or "" for d in deltas))
    expect_equal("finish_reason", final.choices[0].finish_reason, "tool_calls")
    expect_call(final.choices[0].message.tool_calls[0])


@check("tools, two at once, {}", ("whole", "streamed"))
def _(target, how):
    ask = {"model": "mock-tool-calls", "messages": USER, "tools": [TOOL]}
    with client(target) as c:
        if how == "whole":
            told = c.chat.completions.create(**ask, parallel_tool_calls=True)
        else:
            with c.chat.completions.stream(**ask) as stream:
                told = stream.get_final_completion()
        single = c.chat.completions.create(**ask, parallel_tool_calls=False)
    calls = told.choices[0].message.tool_calls or []
    expect_equal("number of calls", len(calls), 2)
    expect(calls[0].id != calls[1].id, "both calls have one id")
    for call in calls:
        expect_call(call)
    expect_equal("calls with parallel_tool_calls=False", len(single.choices[0].message.tool_calls or []), 1)


@check("tools, round trip")
def _(target):
    messages = [{"role": "user", "content": WEATHER}]
    with client(target) as c:
        first = c.chat.completions.create(model="mock-tool-call", messages=messages, tools=[TOOL])
        call = first.choices[0].message.tool_calls[0]
        answer = {"role": "tool", "tool_call_id": call.id, "content": "20 degrees"}
        messages += [first.choices[0].message, answer]
        expect_text(c.chat.completions.create(model="mock-tool-call", messages=messages, tools=[TOOL]))


@check("tools, choice none and by name")
def _(target):
    other = {"type": "function", "function": {"name": "other", "parameters": {"type": "object", "properties": {}}}}
    with client(target) as c:
        none = c.chat.completions.create(model="mock-tool-call", messages=USER, tools=[TOOL], tool_choice="none")
        expect(none.choices[0].message.content and not none.choices[0].message.tool_calls, "called in spite of `none`")
        named = {"type": "function", "function": {"name": "get_weather"}}
        told = c.chat.completions.create(model="mock", messages=USER, tools=[other, TOOL], tool_choice=named)
        expect_equal("the tool called", [t.function.name for t in told.choices[0].message.tool_calls or []], ["get_weather"])
        some = c.chat.completions.create(model="mock", messages=USER, tools=[TOOL], tool_choice="required")
        expect(some.choices[0].message.tool_calls, "no call in spite of `required`")


@check("thinking, field {}", (("mock-thinking", "reasoning_content"), ("mock-reasoning", "reasoning")))
def _(target, case):
    model, field = case
    with client(target) as c:
        whole = c.chat.completions.create(model=model, messages=USER)
        chunks = list(c.chat.completions.create(model=model, messages=USER, stream=True, stream_options={"include_usage": True}))
    expect((whole.choices[0].message.model_extra or {}).get(field), f"no {field} in the message")
    expect_text(whole)
    pieces = [(ch.choices[0].delta.model_extra or {}).get(field) for ch in chunks if ch.choices]
    expect(sum(bool(p) for p in pieces) > 1, f"{field} is not streamed in pieces")
    details = chunks[-1].usage.completion_tokens_details
    expect(details and details.reasoning_tokens, "no reasoning_tokens in usage")
    expect(whole.usage.completion_tokens_details.reasoning_tokens, "no reasoning_tokens in usage of the whole answer")


@check("JSON, any object")
def _(target):
    with client(target) as c:
        told = c.chat.completions.create(model="mock-json", messages=USER, response_format={"type": "json_object"})
    expect(isinstance(json.loads(told.choices[0].message.content), dict), "no JSON object")


@check("JSON by schema, {}", ("whole", "streamed"))
def _(target, how):
    with client(target) as c:
        if how == "whole":
            told = c.chat.completions.parse(model="mock", messages=USER, response_format=Person)
        else:
            with c.chat.completions.stream(model="mock", messages=USER, response_format=Person) as stream:
                told = stream.get_final_completion()
    expect(isinstance(told.choices[0].message.parsed, Person), f"parsed is {told.choices[0].message.parsed!r}")
    expect_person(told.choices[0].message.content)


@check("refusal, {}", ("whole", "streamed"))
def _(target, how):
    with client(target) as c:
        if how == "whole":
            told = c.chat.completions.create(model="mock-refusal", messages=USER)
        else:
            with c.chat.completions.stream(model="mock-refusal", messages=USER) as stream:
                told = stream.get_final_completion()
    expect(told.choices[0].message.refusal, "no refusal")
    expect(not told.choices[0].message.content, "text beside the refusal")


@check("legacy completions")
def _(target):
    with client(target) as c:
        whole = c.completions.create(model="mock", prompt="Once upon a time", max_tokens=8)
        chunks = list(c.completions.create(model="mock", prompt=["Once"], stream=True, stream_options={"include_usage": True}))
        listed = c.completions.create(model="mock", prompt="Once", echo=False, suffix=None, n=1)
    expect_equal("object", whole.object, "text_completion")
    expect(whole.choices[0].text and whole.choices[0].finish_reason in ("stop", "length"), f"odd choice {whole.choices[0]}")
    expect_usage(whole.usage)
    expect("".join(ch.choices[0].text for ch in chunks if ch.choices), "no streamed text")
    expect_usage(chunks[-1].usage)
    expect(listed.choices[0].text, "no text")


@check("models")
def _(target):
    with client(target) as c:
        names = [model.id for model in c.models.list()]
        for name in ("mock", "mock-tool-call", "mock-thinking", "mock-error-429", "mock-flaky"):
            expect(name in names, f"{name} is not listed")
        expect_equal("one model's id", c.models.retrieve("mock").id, "mock")
        with raises(openai.NotFoundError, status=404):
            c.models.retrieve("mock-missing")


@check("error {}", STATUSES)
def _(target, status):
    with client(target) as c:
        for stream in (False, True):
            with raises(KINDS[status], status=status) as caught:
                c.chat.completions.create(model=f"mock-error-{status}", messages=USER, stream=stream)
            error = caught[0]
            expect(isinstance(error.body, dict) and error.body.get("message"), f"no message in {error.body!r}")
            expect(error.request_id, "no x-request-id")
            if status == 429:
                expect(float(error.response.headers.get("retry-after", "0")) > 0, "no retry-after")


@check("missing model and bad key")
def _(target):
    with client(target) as c, raises(openai.NotFoundError, status=404) as caught:
        c.chat.completions.create(model="mock-missing", messages=USER)
    expect_equal("code", caught[0].code, "model_not_found")
    with client(target, api_key="bad-key") as c, raises(openai.AuthenticationError, status=401) as caught:
        c.chat.completions.create(model="mock", messages=USER)
    expect_equal("code", caught[0].code, "invalid_api_key")


@check("request that cannot be")
def _(target):
    with client(target) as c:
        with raises(openai.BadRequestError, status=400):
            c.chat.completions.create(model="mock", messages=[])


@check("flaky server, with and without retries")
def _(target):
    with client(target) as c, raises(openai.InternalServerError, status=500):
        c.chat.completions.create(model="mock-flaky", messages=[{"role": "user", "content": unique("once")}])
    with client(target, max_retries=2) as c:
        expect_text(c.chat.completions.create(model="mock-flaky", messages=[{"role": "user", "content": unique("again")}]))
        stream = c.chat.completions.create(model="mock-flaky", messages=[{"role": "user", "content": unique("s")}], stream=True)
        expect(list(stream), "no chunks")


@check("error in mid-stream")
def _(target):
    with client(target) as c:
        stream, texts = c.chat.completions.create(model="mock-midstream-error", messages=USER, stream=True), []
        with raises(openai.APIError):
            for chunk in stream:
                texts += [choice.delta.content for choice in chunk.choices if choice.delta.content]
    expect(texts, "no text before the error")


@check("stream that ends early")
def _(target):
    with client(target) as c:
        chunks = list(c.chat.completions.create(model="mock-truncate", messages=USER, stream=True))
    expect(any(choice.delta.content for ch in chunks for choice in ch.choices), "no text")
    expect(not any(choice.finish_reason for ch in chunks for choice in ch.choices), "a finish reason after all")


@check("connection reset in mid-stream")
def _(target):
    with client(target) as c:
        stream, texts = c.chat.completions.create(model="mock-reset", messages=USER, stream=True), []
        with raises(Exception) as caught:
            for chunk in stream:
                texts += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        expect(not isinstance(caught[0], (openai.APIStatusError, Wrong)), f"raised {caught[0]!r}")


@check("cancel in mid-stream, then again")
def _(target):
    with client(target) as c:
        with at_once():
            with c.chat.completions.create(model="mock-long", messages=USER, stream=True) as stream:
                for _chunk in islice(stream, 3):
                    pass
        expect_text(c.chat.completions.create(model="mock", messages=USER))


@check("time-out of the client")
def _(target):
    with client(target, timeout=0.5) as c, raises(openai.APITimeoutError):
        c.chat.completions.create(model="mock-slow", messages=USER)


@check("Azure, {}", ("whole", "streamed", "tools", "errors"))
def _(target, case):
    with azure(target) as c:
        if case == "whole":
            expect_text(c.chat.completions.create(model="mock", messages=USER))
        elif case == "streamed":
            ask = {"model": "mock", "messages": USER, "stream_options": {"include_usage": True}}
            with c.chat.completions.stream(**ask) as stream:
                for _event in stream:
                    pass
                expect_text(stream.current_completion_snapshot)
        elif case == "tools":
            told = c.chat.completions.create(model="mock-tool-call", messages=USER, tools=[TOOL])
            expect_call(told.choices[0].message.tool_calls[0])
        else:
            with raises(openai.RateLimitError, status=429):
                c.chat.completions.create(model="mock-error-429", messages=USER)
            with azure(target, api_key="bad-key") as bad, raises(openai.AuthenticationError, status=401):
                bad.chat.completions.create(model="mock", messages=USER)


assert ANSWER_SCHEMA["required"] == list(Person.model_fields)
