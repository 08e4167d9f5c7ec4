"""Ollama's API through `ollama`."""

from __future__ import annotations

import asyncio
import json
from itertools import islice

import ollama

from common import (
    ANSWER_SCHEMA,
    DESCRIPTION,
    PNG,
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

check = checks_of("python ollama")
BOTH = ("whole", "streamed")
USER = [{"role": "user", "content": PROMPT}]
TOOL = {"type": "function", "function": {"name": "get_weather", "description": DESCRIPTION, "parameters": SCHEMA}}


def client(target, key=None, **more) -> ollama.Client:
    return ollama.Client(host=target.base, headers={"authorization": f"Bearer {key or target.key}"}, **{"timeout": target.timeout, **more})


def expect_end(parts) -> None:
    last = parts[-1]
    expect(last.done and not any(part.done for part in parts[:-1]), "`done` is not true on the last line only")
    expect_in("done_reason", last.done_reason, ("stop", "length"))
    expect(last.prompt_eval_count and last.eval_count, f"counts {last.prompt_eval_count}, {last.eval_count}")
    durations = (last.total_duration, last.load_duration, last.prompt_eval_duration, last.eval_duration)
    expect(all(value is not None for value in durations), f"durations {durations}")
    expect(last.model and last.created_at, "no model or time")


def chat(target, how: str, model: str = "mock", messages=USER, **ask) -> list:
    reply = client(target).chat(model=model, messages=messages, stream=how == "streamed", **ask)
    return list(reply) if how == "streamed" else [reply]


def text_of(parts) -> str:
    return "".join(part.message.content or "" for part in parts)


@check("chat, {}", BOTH)
def _(target, how):
    parts = chat(target, how, messages=[{"role": "system", "content": SYSTEM}, *USER], keep_alive="5m")
    expect(text_of(parts), "no text")
    expect_end(parts)
    expect(how == "whole" or len(parts) > 3, f"{len(parts)} lines")


@check("chat, asynchronous client")
def _(target):
    async def run():
        stream = await ollama.AsyncClient(host=target.base).chat(model="mock", messages=USER, stream=True)
        return [part async for part in stream]

    expect_end(asyncio.run(run()))


@check("chat, options")
def _(target):
    parts = chat(target, "whole", "mock-long", options={"num_predict": 5, "temperature": 0.1, "seed": 1, "num_ctx": 2048})
    expect_equal("done_reason", parts[0].done_reason, "length")
    expect_equal("eval_count", parts[0].eval_count, 5)
    stopped = chat(target, "whole", "mock-long", options={"num_predict": 500, "stop": ["e"]})
    expect("e" not in text_of(stopped) and stopped[0].done_reason == "stop", f"{text_of(stopped)!r}, {stopped[0].done_reason}")


@check("chat, image in")
def _(target):
    expect(text_of(chat(target, "whole", messages=[{"role": "user", "content": "What is this?", "images": [PNG]}])), "no text")


@check("tools, {}", BOTH)
def _(target, how):
    parts = chat(target, how, "mock-tool-call", tools=[TOOL])
    calls = [call for part in parts for call in part.message.tool_calls or []]
    expect_equal("number of calls", len(calls), 1)
    expect_equal("the name", calls[0].function.name, "get_weather")
    expect_weather(dict(calls[0].function.arguments))
    expect_end(parts)


@check("tools, two at once, {}", BOTH)
def _(target, how):
    parts = chat(target, how, "mock-tool-calls", tools=[TOOL])
    calls = [call for part in parts for call in part.message.tool_calls or []]
    expect_equal("number of calls", len(calls), 2)


@check("tools, round trip")
def _(target):
    messages: list = [{"role": "user", "content": WEATHER}]
    first = chat(target, "whole", "mock-tool-call", messages, tools=[TOOL])[0]
    messages += [first.message, {"role": "tool", "tool_name": "get_weather", "content": "20 degrees"}]
    expect(text_of(chat(target, "whole", "mock-tool-call", messages, tools=[TOOL])), "no text")


@check("thinking, {}", BOTH)
def _(target, how):
    parts = chat(target, how, "mock-thinking", think=True)
    expect("".join(part.message.thinking or "" for part in parts), "no thinking")
    expect(text_of(parts), "no text")
    expect_end(parts)


@check("JSON, any object and by schema, {}", BOTH)
def _(target, how):
    expect(isinstance(json.loads(text_of(chat(target, how, "mock-json", format="json"))), dict), "no object")
    expect_person(text_of(chat(target, how, format=ANSWER_SCHEMA)))


@check("generate, {}", BOTH)
def _(target, how):
    stream = how == "streamed"
    reply = client(target).generate(model="mock", prompt=PROMPT, system=SYSTEM, stream=stream, options={"num_predict": 16})
    parts = list(reply) if stream else [reply]
    expect("".join(part.response or "" for part in parts), "no text")
    expect_end(parts)


@check("generate, thinking, schema, image")
def _(target):
    c = client(target)
    expect(c.generate(model="mock-thinking", prompt=PROMPT, think=True).thinking, "no thinking")
    expect_person(c.generate(model="mock", prompt=PROMPT, format=ANSWER_SCHEMA).response)
    expect(c.generate(model="mock", prompt="What is this?", images=[PNG]).response, "no text")
    expect_equal("done_reason of an empty prompt", c.generate(model="mock").done_reason, "load")


@check("list, show, ps")
def _(target):
    c = client(target)
    names = [model.model for model in c.list().models]
    for name in ("mock", "mock-tool-call", "mock-error-500"):
        expect(f"{name}:latest" in names or name in names, f"{name} is not listed")
    listed = c.list().models[0]
    expect(listed.digest and listed.size and listed.modified_at and listed.details.family, f"odd entry {listed}")
    shown = c.show("mock")
    expect(shown.capabilities and "completion" in shown.capabilities and shown.modelinfo, f"odd description {shown}")
    chat(target, "whole")
    expect(isinstance(c.ps().models, list) or c.ps().models is not None, "no models in ps")
    with raises(ollama.ResponseError, status=404):
        c.show("mock-missing")


@check("pull, {}", BOTH)
def _(target, how):
    if how == "whole":
        expect_equal("status", client(target).pull("mock").status, "success")
    else:
        states = [part.status for part in client(target).pull("mock", stream=True)]
        expect(len(states) > 1 and states[-1] == "success", f"states {states}")


@check("pull of a missing model")
def _(target):
    with raises(ollama.ResponseError) as caught:
        client(target).pull("mock-missing")
    expect(caught[0].error, "no message")


@check("error {}", STATUSES)
def _(target, status):
    for how in BOTH:
        with raises(ollama.ResponseError, status=status) as caught:
            chat(target, how, f"mock-error-{status}")
        expect(caught[0].error, "no message")


@check("missing model, bad key, request that cannot be")
def _(target):
    with raises(ollama.ResponseError, status=404) as caught:
        chat(target, "whole", "mock-missing")
    expect("not found" in caught[0].error, f"message {caught[0].error!r}")
    with raises(ollama.ResponseError, status=401):
        client(target, key="bad-key").chat(model="mock", messages=USER)


@check("flaky server, called again")
def _(target):
    messages = [{"role": "user", "content": unique("again")}]
    with raises(ollama.ResponseError, status=500):
        chat(target, "whole", "mock-flaky", messages)
    expect(text_of(chat(target, "whole", "mock-flaky", messages)), "no text")


@check("error in mid-stream")
def _(target):
    stream, texts = client(target).chat(model="mock-midstream-error", messages=USER, stream=True), []
    with raises(ollama.ResponseError):
        for part in stream:
            texts.append(part.message.content)
    expect("".join(texts), "no text before the error")


@check("stream that ends early")
def _(target):
    parts = chat(target, "streamed", "mock-truncate")
    expect(text_of(parts) and not parts[-1].done, "`done: true` after all")


@check("connection reset in mid-stream")
def _(target):
    with raises(Exception) as caught:
        chat(target, "streamed", "mock-reset")
    expect(not isinstance(caught[0], (ollama.ResponseError, Wrong)), f"raised {caught[0]!r}")


@check("cancel in mid-stream, then again")
def _(target):
    c = client(target)
    with at_once():
        stream = c.chat(model="mock-long", messages=USER, stream=True)
        for _part in islice(stream, 3):
            pass
        stream.close()
    expect(c.chat(model="mock", messages=USER).message.content, "no text")


@check("embeddings and version")
def _(target):
    told = client(target).embed(model="mock", input=["a", "b"])
    expect(len(told.embeddings) == 2 and len(told.embeddings[0]) > 0, "not two vectors")
