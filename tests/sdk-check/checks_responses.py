"""OpenAI's Responses through `openai`."""

from __future__ import annotations

from itertools import islice

import openai

from checks_openai import KINDS, Person, client
from common import (
    DESCRIPTION,
    PNG_BASE64,
    PROMPT,
    SCHEMA,
    STATUSES,
    SYSTEM,
    WEATHER,
    at_once,
    checks_of,
    expect,
    expect_equal,
    expect_person,
    expect_weather,
    raises,
    unique,
)

check = checks_of("python openai responses")
TOOL = {"type": "function", "name": "get_weather", "description": DESCRIPTION, "parameters": SCHEMA, "strict": True}
FINAL = ("response.completed", "response.incomplete", "response.failed")


def expect_text(response, status="completed") -> None:
    expect(response.output_text, "no text")
    expect_equal("status", response.status, status)
    expect_equal("object", response.object, "response")
    expect(response.id and response.model and response.created_at, "no id, model or time")
    usage = response.usage
    expect(usage and usage.input_tokens > 0 and usage.output_tokens > 0, f"usage {usage}")
    expect_equal("total_tokens", usage.total_tokens, usage.input_tokens + usage.output_tokens)
    expect(usage.input_tokens_details is not None and usage.output_tokens_details is not None, "no token details")


def calls_of(response) -> list:
    return [item for item in response.output if item.type == "function_call"]


@check("whole")
def _(target):
    with client(target) as c:
        raw = c.responses.with_raw_response.create(model="mock", instructions=SYSTEM, input=PROMPT)
    expect_text(raw.parse())
    expect(raw.request_id, "no x-request-id")
    expect_equal("the item's type and role", (raw.parse().output[0].type, raw.parse().output[0].role), ("message", "assistant"))


@check("input as messages, with an image")
def _(target):
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG_BASE64}", "detail": "auto"}
    messages = [
        {"role": "developer", "content": SYSTEM},
        {"role": "user", "content": [{"type": "input_text", "text": "What is this?"}, image]},
    ]
    with client(target) as c:
        expect_text(c.responses.create(model="mock", input=messages))


@check("streamed, events in order")
def _(target):
    with client(target) as c:
        events = list(c.responses.create(model="mock", input=PROMPT, stream=True))
    kinds = [event.type for event in events]
    expect_equal("the first events", kinds[:4], ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"])
    ends = ["response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed"]
    expect_equal("the last events", kinds[-4:], ends)
    expect_equal("the sequence numbers", [event.sequence_number for event in events], list(range(len(events))))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    expect_equal("the deltas' text", text, events[-1].response.output_text)
    expect_text(events[-1].response)
    expect_equal("ids of the response", len({e.response.id for e in events if hasattr(e, "response")}), 1)


@check("streamed through the accumulator")
def _(target):
    with client(target) as c, c.responses.stream(model="mock", input=PROMPT) as stream:
        expect(any(event.type == "response.output_text.delta" for event in stream), "no deltas")
        expect_text(stream.get_final_response())


@check("tools, {}", ("whole", "streamed"))
def _(target, how):
    ask = {"model": "mock-tool-call", "input": PROMPT, "tools": [TOOL]}
    with client(target) as c:
        if how == "whole":
            told = c.responses.create(**ask)
        else:
            with c.responses.stream(**ask) as stream:
                events = list(stream)
                told = stream.get_final_response()
            deltas = [e for e in events if e.type == "response.function_call_arguments.delta"]
            expect(len(deltas) > 1, "arguments are not streamed in pieces")
            done = [e for e in events if e.type == "response.function_call_arguments.done"]
            expect_equal("arguments joined", "".join(e.delta for e in deltas), done[0].arguments)
    (call,) = calls_of(told)
    expect(call.name == "get_weather" and call.call_id and call.id and call.call_id != call.id, f"odd call {call}")
    expect_weather(call.arguments)
    expect_equal("status", told.status, "completed")


@check("tools, two at once, {}", ("whole", "streamed"))
def _(target, how):
    ask = {"model": "mock-tool-calls", "input": PROMPT, "tools": [TOOL]}
    with client(target) as c:
        if how == "whole":
            told = c.responses.create(**ask)
        else:
            with c.responses.stream(**ask) as stream:
                told = stream.get_final_response()
    calls = calls_of(told)
    expect_equal("number of calls", len(calls), 2)
    expect(calls[0].call_id != calls[1].call_id, "both calls have one id")
    for call in calls:
        expect_weather(call.arguments)


@check("tools, round trip")
def _(target):
    said: list = [{"role": "user", "content": WEATHER}]
    with client(target) as c:
        first = c.responses.create(model="mock-tool-call", input=said, tools=[TOOL])
        (call,) = calls_of(first)
        said += first.output
        said.append({"type": "function_call_output", "call_id": call.call_id, "output": "20 degrees"})
        expect_text(c.responses.create(model="mock-tool-call", input=said, tools=[TOOL]))


@check("reasoning, {}", ("whole", "streamed"))
def _(target, how):
    ask = {"model": "mock-thinking", "input": PROMPT, "reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"]}
    with client(target) as c:
        if how == "whole":
            told = c.responses.create(**ask)
        else:
            with c.responses.stream(**ask) as stream:
                events = list(stream)
                told = stream.get_final_response()
            parts = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")
            expect(sum(e.type in parts for e in events) > 1, "reasoning is not streamed in pieces")
    items = [item for item in told.output if item.type == "reasoning"]
    expect(items, "no reasoning item")
    texts = [part.text for item in items for part in [*(item.summary or []), *(item.content or [])]]
    expect("".join(texts), "no text in the reasoning")
    expect(told.usage.output_tokens_details.reasoning_tokens > 0, "no reasoning_tokens in usage")
    expect_text(told)
    with client(target) as c:
        again = [{"role": "user", "content": PROMPT}, *told.output, {"role": "user", "content": "And now?"}]
        expect_text(c.responses.create(model="mock", input=again))


@check("JSON by schema, {}", ("whole", "streamed"))
def _(target, how):
    with client(target) as c:
        if how == "whole":
            told = c.responses.parse(model="mock", input=PROMPT, text_format=Person)
        else:
            with c.responses.stream(model="mock", input=PROMPT, text_format=Person) as stream:
                told = stream.get_final_response()
    expect(isinstance(told.output_parsed, Person), f"parsed is {told.output_parsed!r}")
    expect_person(told.output_text)


@check("limit of tokens, {}", ("whole", "streamed"))
def _(target, how):
    ask = {"model": "mock-long", "input": PROMPT, "max_output_tokens": 5}
    with client(target) as c:
        if how == "whole":
            told = c.responses.create(**ask)
        else:
            events = list(c.responses.create(**ask, stream=True))
            expect_equal("the last event", events[-1].type, "response.incomplete")
            told = events[-1].response
    expect_text(told, "incomplete")
    expect_equal("the reason", told.incomplete_details.reason, "max_output_tokens")
    expect_equal("output_tokens", told.usage.output_tokens, 5)


@check("refusal, {}", ("whole", "streamed"))
def _(target, how):
    with client(target) as c:
        if how == "whole":
            told = c.responses.create(model="mock-refusal", input=PROMPT)
        else:
            with c.responses.stream(model="mock-refusal", input=PROMPT) as stream:
                kinds = {event.type for event in stream}
                told = stream.get_final_response()
            expect("response.refusal.delta" in kinds, f"events {sorted(kinds)}")
    parts = [part for item in told.output if item.type == "message" for part in item.content]
    expect([part for part in parts if part.type == "refusal" and part.refusal], "no refusal")


@check("count of input tokens")
def _(target):
    with client(target) as c:
        few = c.responses.input_tokens.count(model="mock", input=PROMPT).input_tokens
        many = c.responses.input_tokens.count(model="mock", input=PROMPT * 30).input_tokens
        expect(0 < few < many, f"{few} tokens for a short text, {many} for a long one")


@check("error {}", STATUSES)
def _(target, status):
    with client(target) as c:
        for stream in (False, True):
            with raises(KINDS[status], status=status) as caught:
                c.responses.create(model=f"mock-error-{status}", input=PROMPT, stream=stream)
            expect(isinstance(caught[0].body, dict) and caught[0].body.get("message"), f"no message in {caught[0].body!r}")


@check("flaky server, with and without retries")
def _(target):
    with client(target) as c, raises(openai.InternalServerError, status=500):
        c.responses.create(model="mock-flaky", input=unique("once"))
    with client(target, max_retries=2) as c:
        expect_text(c.responses.create(model="mock-flaky", input=unique("again")))


@check("error in mid-stream")
def _(target):
    with client(target) as c:
        kinds, failed = [], None
        try:
            for event in c.responses.create(model="mock-midstream-error", input=PROMPT, stream=True):
                kinds.append(event.type)
        except openai.APIError as error:
            failed = error
    expect("response.output_text.delta" in kinds, "no text before the error")
    expect(failed or kinds[-1] in ("error", "response.failed"), f"neither raised nor told: {kinds[-1]}")


@check("stream that ends early")
def _(target):
    with client(target) as c:
        kinds = [event.type for event in c.responses.create(model="mock-truncate", input=PROMPT, stream=True)]
    expect("response.output_text.delta" in kinds, "no text")
    expect(not set(kinds) & set(FINAL), "a final event after all")


@check("cancel in mid-stream, then again")
def _(target):
    with client(target) as c:
        with at_once(), c.responses.create(model="mock-long", input=PROMPT, stream=True) as stream:
            for _event in islice(stream, 6):
                pass
        expect_text(c.responses.create(model="mock", input=PROMPT))


@check("Azure's address")
def _(target):
    with openai.OpenAI(base_url=f"{target.base}/openai/v1", api_key=target.key, max_retries=0) as c:
        expect_text(c.responses.create(model="mock", input=PROMPT))
