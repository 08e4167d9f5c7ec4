#!/usr/bin/env python3
"""Writes the corpora and the dictionaries of the fuzz targets from the recordings in `crates/*/tests/recordings`.

    python3 corpus.py [DIRECTORY]

Makes `corpus/TARGET/` and `dictionary/TARGET` below DIRECTORY (default: where this file stands); files that are there
already stay. Needs nothing but Python. The layout of an input stands at the head of each target.
"""

import base64
import hashlib
import json
import pathlib
import re
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
RECORDINGS = sorted((HERE / "../../crates").resolve().glob("*/tests/recordings/*.jsonl"))
# As in src/secret.rs.
SECRETS = ["marmalade", "quincejamandtoast"]
# Longer bodies mutate slowly; streams are thinned to their shapes, the rest is cut.
MAX_LEN = 16 << 10

SSE_WORDS = ["data: ", "data:", "event: ", "event:", "id: ", "retry: ", ":", "\n\n", "\r\n\r\n", "\r", "\ufeff", "[DONE]"]
JSON_WORDS = ['":', '":"', '":null', '":[]', '":{}', "null", "true", "\\u", "\\ud83d", "\\ude00", '\\"', "\\\\", "1e999"]
HTTP_WORDS = [
    "HTTP/1.1 200 OK\r\n", "HTTP/1.0 ", "HTTP/1.1 100 Continue\r\n\r\n", "transfer-encoding: chunked\r\n",
    "content-length: ", "connection: close\r\n", "connection: keep-alive\r\n", "\r\n\r\n", "0\r\n\r\n", ";x=y\r\n",
    "204", "304", "ffffffffffffffff", "18446744073709551615", ", ", "identity", "chunked",
]  # fmt: skip
HEADER_WORDS = [
    "retry-after: ", "retry-after-ms: ", "date: Sun, 06 Nov 1994 08:49:37 GMT", "location: ", "x-request-id: ",
    "request-id: ", "x-ratelimit-reset-tokens: ", "x-ratelimit-reset-requests: ", "1m2.5s", "server: ",
]  # fmt: skip

# What recordings do not hold. Fields of the file name: target, then anything.
HAND_MADE = {
    "sse_framer": [
        b"\x80\xef\xbb\xbfdata: a\n\ndata: b\r\n\r\ndata: c\r\rdata:d\ndata\ndata:  e\n\n",
        b"\x80event: x\ndata: one\ndata: two\n\n: comment\nid: 7\nretry: 5\n\nevent\ndata:\n\ndata: \xff\n\n",
        b"\x00data: 0123456789abcdef\n\n",
        b"\x40event: name\ndata: " + b"y" * 90 + b"\n\n",
    ],
    "ndjson_framer": [
        b'\x80{"a":1}\n\n\r\n{"b":2}\r\n{"c":3}',
        b"\x000123456789abcdef\n",
        b"\x80\xff\n",
    ],
    "http1_answer": [
        b"\x00HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nexpires: never\r\n\r\nrest",
        b"\x01HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        b"\x02HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        b"\x02HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
        b"\x02HTTP/1.1 200 OK\r\n\r\nuntil it closes",
        b"\x02HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\nconnection: close\r\n\r\nhelloHTTP",
    ],
}


def error_bodies():
    for secret in SECRETS:
        yield json.dumps({"error": {"message": f"key {secret} is wrong", "type": secret, "code": secret, "param": None}})
        yield json.dumps({"error": f"key {secret}", "error_type": secret})
        yield json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": secret}, "request_id": secret})
        yield json.dumps({"detail": [{"msg": secret}], "object": "error", "message": secret})
        yield json.dumps({"id": {"no": secret}, "choices": secret, "content": secret, "message": secret, "usage": secret})
        yield f"<html>{secret}</html>"
        yield secret


def shape(frame):
    """A frame without its texts and numbers."""
    return re.sub(rb'(:\s*)"(?:[^"\\]|\\.)*"|-?\d+(\.\d+)?', rb'\1""', frame)


def thinned(body, separator):
    """The same stream with at most three frames in a row of one shape, and five in all."""
    frames, seen, out, last, run = body.split(separator), {}, [], None, 0
    for i, frame in enumerate(frames):
        key = shape(frame)
        run = run + 1 if key == last else 1
        last = key
        seen[key] = seen.get(key, 0) + 1
        if (run <= 3 and seen[key] <= 5) or i + 3 >= len(frames):
            out.append(frame)
    return separator.join(out)


def messages(data):
    """The messages of an AWS event stream as (headers, payload)."""
    while len(data) >= 16:
        total, headers_len = struct.unpack(">II", data[:8])
        at, end, headers = 12, 12 + headers_len, {}
        while at < end:
            n = data[at]
            name, kind = data[at + 1 : at + 1 + n].decode(), data[at + 1 + n]
            at += n + 2
            assert kind == 7, "a header that is no text"
            (length,) = struct.unpack(">H", data[at : at + 2])
            headers[name] = data[at + 2 : at + 2 + length].decode()
            at += 2 + length
        yield headers, data[end : total - 4]
        data = data[total:]


def status_and_headers(response):
    """As src/answer.rs reads them."""
    headers = "".join(f"{n}: {v}\n" for n, v in response["headers"].items())
    return struct.pack(">H", response["status"] - 200) + headers.encode() + b"\n"


def http1(response, body):
    """The answer as a server writes it."""
    headers = {n.lower(): v for n, v in response["headers"].items()}
    chunked = headers.pop("transfer-encoding", None) == "chunked"
    body = body[:600]
    headers |= {"transfer-encoding": "chunked"} if chunked else {"content-length": str(len(body))}
    head = f"HTTP/1.1 {response['status']} Word\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers.items()) + "\r\n"
    if chunked:
        parts = [body[i : i + 200] for i in range(0, len(body), 200)] + [b""]
        body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts)
    return head.encode() + body


def openai(endpoint, stream, response, body):
    responses, completions = "responses" in endpoint, "chat" not in endpoint and "completions" in endpoint
    if stream and response["status"] == 200:
        body = thinned(body, b"\n\n")
        yield "sse_framer", b"\x80" + body
        yield ("openai_responses_stream", b"\x06" + body) if responses else (
            "openai_chat_stream", (b"\x07" if completions else b"\x06") + body)  # fmt: skip
    else:
        which = 2 if responses else 1 if completions else 3 if "deployments" in endpoint else 0
        yield "openai_whole", bytes([which]) + status_and_headers(response) + body


def anthropic(_endpoint, stream, response, body):
    if stream and response["status"] == 200:
        body = thinned(body, b"\n\n")
        yield "sse_framer", b"\x80" + body
        yield "anthropic", b"\x06" + body
    else:
        yield "anthropic", b"\x01" + status_and_headers(response) + body


def ollama(endpoint, stream, response, body):
    generate = 2 if "generate" in endpoint else 0
    if stream and response["status"] == 200:
        body = thinned(body, b"\n")
        yield "ndjson_framer", b"\x80" + body
        yield "ollama", bytes([0x18 | generate]) + body
    else:
        yield "ollama", bytes([1 | generate]) + status_and_headers(response) + body


FAMILIES = ["converse", "anthropic", "cohere", "llama", "mistral", "nova", "titan"]


def bedrock(endpoint, stream, response, body, path):
    invoke = "invoke" in endpoint
    which = next((i for i, f in enumerate(FAMILIES) if f in path), 0) << 2 if invoke else 0
    if stream and response["status"] == 200:
        lines = []
        for headers, payload in messages(body):
            kind, payload = headers[":message-type"], payload.replace(b"\n", b" ")
            if kind == "exception":
                lines.append(b"x %s %s" % (headers[":exception-type"].encode(), payload))
            elif headers[":event-type"] == "chunk":
                lines.append(b"c " + base64.b64decode(json.loads(payload)["bytes"]).replace(b"\n", b" "))
            else:
                lines.append(b"e %s %s" % (headers[":event-type"].encode(), payload))
        yield "bedrock", bytes([which | 0xE0]) + thinned(b"\n".join(lines), b"\n")
        yield "bedrock", bytes([which | 0xE1]) + body
    elif "count" not in endpoint:
        yield "bedrock", bytes([which | 0xE2]) + status_and_headers(response) + body


def inputs():
    for path in RECORDINGS:
        for line in path.read_text().splitlines():
            recording = json.loads(line)
            response = recording["response"]
            encoded = response.get("body_base64")
            body = base64.b64decode(encoded) if encoded else (response["body"] or "").encode()
            make = {"openai": openai, "anthropic": anthropic, "ollama": ollama}.get(recording["provider"])
            if recording["provider"] == "bedrock":
                yield from bedrock(recording["endpoint"], recording["stream"], response, body, recording["request"]["path"])
            if make:
                yield from make(recording["endpoint"], recording["stream"], response, body)
            yield "http1_answer", b"\x06" + http1(response, body)
    for target, made in HAND_MADE.items():
        for data in made:
            yield target, data
    for text in error_bodies():
        body = text.encode()
        for status in (200, 400, 401, 404, 429, 500, 529):
            head = status_and_headers({"status": status, "headers": {"retry-after": "2", "location": SECRETS[0]}})
            for which in range(4):
                yield "openai_whole", bytes([which]) + head + body
            yield "anthropic", b"\x01" + head + body
            yield "ollama", b"\x01" + head + body
            yield "ollama", b"\x03" + head + body
            yield "bedrock", b"\x02" + head + body
            yield "bedrock", b"\x06" + head + body
        yield "bedrock", b"\xe0x throttlingException " + body
        yield "bedrock", b"\xe4x internalServerException " + body
        yield "bedrock", b"\xe0r someCode " + body
        for target in ("openai_chat_stream", "openai_responses_stream", "anthropic"):
            yield target, b"\x06data: " + body + b"\n\n"
            yield target, b"\x06event: error\ndata: " + body + b"\n\n"
        yield "ollama", b"\x18" + body + b"\n"


def words(data):
    """Names of members and short words in values of what looks like JSON."""
    for match in re.finditer(rb'"([A-Za-z_.\-\[\]]{2,40})"', data):
        yield match.group(1).decode()


def escaped(word):
    return "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\x{b:02x}" for b in word.encode())


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    dictionaries, made = {}, {}
    for target, data in inputs():
        data = data[:MAX_LEN]
        folder = root / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)
        counts = dictionaries.setdefault(target, {})
        for word in words(data):
            counts[word] = counts.get(word, 0) + 1
        made[target] = made.get(target, 0) + 1
    (root / "dictionary").mkdir(parents=True, exist_ok=True)
    for target, counts in dictionaries.items():
        if target == "http1_answer":
            chosen = HTTP_WORDS
        else:
            often = sorted(counts, key=lambda w: (-counts[w], w))[:250]
            chosen = SECRETS + SSE_WORDS + JSON_WORDS + HEADER_WORDS + [f'"{w}":' for w in often] + often
        lines = dict.fromkeys(f'"{escaped(w)}"' for w in chosen)
        (root / "dictionary" / target).write_text("\n".join(lines) + "\n")
    for target in sorted(made):
        print(f"{target}: {made[target]} inputs")


if __name__ == "__main__":
    main()
