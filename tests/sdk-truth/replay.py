"""A loopback server that answers every request with one recorded response, byte for byte.

A recording is one JSON object a line: `id`, `request {method, path, headers, body}` and
`response {status, headers, body | body_base64}`. A client is pointed at `http://HOST:PORT/r/<id>`
as its base URL: whatever path it appends, it gets the response of recording `<id>`. The path and
body that the client sent are kept, so that the driver can tell how far the client repeated the
recorded request.

Served exactly: status, body bytes, and the headers that describe the answer. Not served as
recorded: `content-encoding` (bodies are stored decoded), `transfer-encoding` and `content-length`,
which are made anew: chunked where the recording was chunked, a length otherwise. Chunks are cut
every `chunk_bytes` bytes, so that events and multi-byte characters get split on the way.

Run alone to point any client at recordings: `python replay.py FILE.jsonl… --port 8099`.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# Made anew or meaningless for the decoded bytes on a new connection.
NOT_SERVED = {"content-encoding", "transfer-encoding", "content-length", "connection"}


def load(path: Path) -> list[dict]:
    """Reads a recordings file; one object a line, blank lines ignored."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def body_bytes(recording: dict) -> bytes:
    """The recorded response body as it came over the wire (after any content-encoding)."""
    response = recording["response"]
    if "body_base64" in response:
        return base64.b64decode(response["body_base64"], validate=True)
    return (response.get("body") or "").encode("utf-8")


class Replay(ThreadingHTTPServer):
    """Serves `/r/<id>/…` from `recordings`; what the client asked is in `seen[id]`."""

    daemon_threads = True

    def __init__(self, recordings: list[dict], port: int = 0, chunk_bytes: int = 97):
        super().__init__(("127.0.0.1", port), Handler)
        self.recordings = {recording["id"]: recording for recording in recordings}
        self.chunk_bytes = chunk_bytes
        self.seen: dict[str, tuple[str, bytes]] = {}

    def url(self, recording_id: str) -> str:
        """Base URL that makes a client receive this recording."""
        return f"http://127.0.0.1:{self.server_address[1]}/r/{recording_id}"

    def __enter__(self) -> "Replay":
        threading.Thread(target=self.serve_forever, name="replay", daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """One request, one recorded response."""

    protocol_version = "HTTP/1.1"
    server: Replay

    def answer(self) -> None:
        sent = self.rfile.read(int(self.headers.get("content-length") or 0))
        _, _, recording_id, *rest = self.path.split("/", 3)
        recording = self.server.recordings.get(recording_id)
        if recording is None:
            self.send_error(404, f"no recording {recording_id}")
            return
        self.server.seen[recording_id] = ("/" + "".join(rest), sent)

        response, body = recording["response"], body_bytes(recording)
        recorded = {name.lower(): value for name, value in response["headers"].items()}
        chunked = "chunked" in recorded.get("transfer-encoding", "")
        self.send_response_only(response["status"])
        for name, value in recorded.items():
            if name not in NOT_SERVED:
                self.send_header(name, value)
        if chunked:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if chunked:
            self.write_chunked(body)
        else:
            self.wfile.write(body)

    def write_chunked(self, body: bytes) -> None:
        step = self.server.chunk_bytes
        for start in range(0, len(body), step):
            piece = body[start : start + step]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = answer

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionResetError, BrokenPipeError):
            pass  # the OpenAI SDK closes at `[DONE]`, before the last chunk's end

    def log_message(self, format: str, *args: object) -> None:
        pass  # the driver reports; a line per request would drown it


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, help="recordings, JSON lines")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--chunk-bytes", type=int, default=97, help="size of the pieces of chunked bodies")
    args = parser.parse_args()
    recordings = [recording for file in args.files for recording in load(file)]
    server = Replay(recordings, args.port, args.chunk_bytes)
    for recording in recordings:
        print(server.url(recording["id"]), recording["request"]["path"], recording["response"]["status"])
    sys.stdout.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
