"""What the checks share: the list of checks, a small vocabulary of expectations, things to send."""

from __future__ import annotations

import base64
import json
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count

SYSTEM = "Answer in one short sentence."
PROMPT = "Say hello."
WEATHER = "What is the weather in Paris?"
DESCRIPTION = "Current weather of a city"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
ANSWER_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}}},
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
# Statuses that a model's name asks for.
STATUSES = (400, 401, 403, 404, 429, 500, 503, 529)
# A cancelled stream ends within this, in seconds; the answer it cuts off would take far longer.
CANCELLED_WITHIN = 2.0


class Wrong(Exception):
    """What a check found; its text is the reason printed."""


def expect(true: object, reason: str) -> None:
    if not true:
        raise Wrong(reason)


def expect_equal(what: str, seen: object, wanted: object) -> None:
    expect(seen == wanted, f"{what} is {seen!r}, expected {wanted!r}")


def expect_in(what: str, seen: object, wanted: Iterable) -> None:
    wanted = list(wanted)
    expect(seen in wanted, f"{what} is {seen!r}, expected one of {wanted}")


def expect_weather(arguments: object) -> None:
    """The arguments of a call of `get_weather`, as text or parsed."""
    parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
    expect(isinstance(parsed, dict) and isinstance(parsed.get("city"), str), f"arguments {parsed!r} do not fit the schema")


def expect_person(text: str) -> None:
    """JSON text that fits ANSWER_SCHEMA."""
    try:
        told = json.loads(text)
    except ValueError:
        raise Wrong(f"not JSON: {text[:80]!r}") from None
    expect(isinstance(told, dict), f"no object: {told!r}")
    expect_equal("the members", sorted(told), sorted(ANSWER_SCHEMA["required"]))
    fits = isinstance(told["name"], str) and isinstance(told["age"], int) and isinstance(told["tags"], list)
    expect(fits, f"{told!r} does not fit the schema")


@contextmanager
def raises(*kinds: type[BaseException], status: int | None = None) -> Iterator[list]:
    """The block must raise one of `kinds` (with this status, where the exception has one); the list gets it."""
    caught: list = []
    try:
        yield caught
    except kinds as error:
        caught.append(error)
        seen = getattr(error, "status_code", None)
        if status is not None and seen is not None:
            expect_equal("the exception's status", seen, status)
        return
    except Wrong:
        raise
    except Exception as error:
        names = " or ".join(kind.__name__ for kind in kinds)
        raise Wrong(f"raised {type(error).__name__} ({str(error)[:160]}), expected {names}") from error
    raise Wrong(f"nothing was raised, expected {' or '.join(kind.__name__ for kind in kinds)}")


@contextmanager
def at_once() -> Iterator[None]:
    """The block must end soon: what it cuts off would last."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    expect(took < CANCELLED_WITHIN, f"took {took:.1f} s, a cancelled stream should end at once")


@dataclass(frozen=True)
class Target:
    """Where to call, and with what."""

    base: str
    key: str = "simulated"
    timeout: float = 30.0
    https: str = ""  # another server, that knows `pair`
    pair: tuple[str, str] = ("", "")  # AWS key and secret

    def secure(self, key: str | None = None) -> Target:
        """The same over HTTPS, with this key or secret."""
        return replace(self, base=self.https, key=key or self.key)


@dataclass(frozen=True)
class Check:
    group: str
    name: str
    run: Callable[[Target], None]

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"


CHECKS: list[Check] = []


def checks_of(group: str):
    """A decorator that puts a function among the checks, once for each `case`."""

    def check(name: str, cases: Iterable | None = None):
        def register(function):
            if cases is None:
                CHECKS.append(Check(group, name, function))
                return function
            for case in cases:
                CHECKS.append(Check(group, name.format(case), lambda target, case=case: function(target, case)))
            return function

        return register

    return check


numbers, numbers_lock = count(), threading.Lock()


def unique(text: str) -> str:
    """A prompt that this process has not sent before and another has hardly: `mock-flaky` counts by what is sent."""
    with numbers_lock:
        return f"{text} ({time.time_ns()}-{next(numbers)})"


def png() -> bytes:
    """A picture of one white pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\xff\xff\xff")) + chunk(b"IEND", b"")


PNG = png()
PNG_BASE64 = base64.b64encode(PNG).decode()
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
