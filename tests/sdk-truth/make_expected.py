"""Writes the ground truth of the provider codecs: what each vendor's own SDK makes of recorded bytes.

For every selected recording a replay server (`replay.py`) answers with the recorded status, headers
and body, the vendor's Python SDK is called against it, and what the SDK hands to its user is written
down: joined text, reasoning, tool calls, finish reason, usage, or the exception. Nothing here parses
wire bytes by itself; where the SDK has an accumulator for streams, that one is used.

    python make_expected.py --recordings DIR --out DIR            write the recordings and what the SDKs say
    python make_expected.py --recordings crates --out crates --check    compare, exit 1 on a difference

DIR is read as `DIR/<provider>.jsonl` (all endpoints in one file) or as the crates keep them, one file an API:
`DIR/llms-providers-<provider>/tests/recordings/<file>.jsonl`; `--out DIR` writes to the latter.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import truth_anthropic
import truth_bedrock
import truth_bedrock_invoke
import truth_counts
import truth_ollama
import truth_ollama_about
import truth_ollama_generate
import truth_openai
import truth_openai_completions
import truth_openai_responses
from replay import Replay, load



def compatible(driver, expected: str | None = None) -> SimpleNamespace:
    """The same driver for recordings of other servers that speak the API: files of their own."""
    file = "compatible" if driver.FILE in DRIVEN_FIRST else f"compatible-{driver.FILE}"
    return SimpleNamespace(**{**vars(driver), "FILE": file, "EXPECTED": expected or f"{file}.expected.json"})


DRIVEN_FIRST = ("openai", "anthropic")  # the files of a provider's main API bear the provider's name
# A driver: NAME and VERSION of the SDK, the ENDPOINTS it takes, FILE.jsonl and EXPECTED in the crate's recordings.
DRIVERS = {
    "openai": (
        truth_openai,
        compatible(truth_openai, "compatible-expected.json"),
        truth_openai_responses,
        compatible(truth_openai_responses),
        truth_openai_completions,
        compatible(truth_openai_completions),
        truth_counts.OPENAI,
    ),
    "anthropic": (truth_anthropic, compatible(truth_anthropic), truth_counts.ANTHROPIC),
    "bedrock": (truth_bedrock, truth_bedrock_invoke, truth_counts.BEDROCK),
    "ollama": (truth_ollama, truth_ollama_generate, truth_ollama_about),
}


def crate_dir(root: Path, provider: str) -> Path:
    return root / f"llms-providers-{provider}" / "tests" / "recordings"


def find_recordings(root: Path, provider: str, file: str) -> Path:
    nested = crate_dir(root, provider) / f"{file}.jsonl"
    return nested if nested.exists() else root / f"{provider}.jsonl"


def same_json(sent: bytes, recorded: str) -> bool:
    try:
        return json.loads(sent) == json.loads(recorded)
    except ValueError:
        return False


def make(driver, recordings: list[dict], chunk_bytes: int) -> dict:
    """Calls the SDK once (or twice, where two ways are compared) for each recording."""
    truths, repeated, other_paths = {}, 0, 0
    with Replay(recordings, chunk_bytes=chunk_bytes) as server:
        for recording in recordings:
            recording_id = recording["id"]
            try:
                truth = driver.call(recording, server.url(recording_id))
            except Exception as error:
                raise RuntimeError(f"{recording_id}: the driver, not the SDK's user, met {error!r}") from error
            path, sent = server.seen[recording_id]
            other_paths += path != recording["request"]["path"]
            repeated += same_json(sent, recording["request"]["body"] or "")
            truths[recording_id] = truth
    told = f"the SDK sent the recorded body in {repeated}, another path in {other_paths}"
    print(f"{driver.FILE}: {len(truths)} recordings; {told}", file=sys.stderr)
    return {
        "sdk": driver.NAME,
        "sdk_version": driver.VERSION,
        "python": platform.python_version(),
        "recordings": dict(sorted(truths.items())),
    }


def differences(old: dict, new: dict) -> list[str]:
    """Recording ids whose truth differs; versions may differ freely."""
    was, now = old["recordings"], new["recordings"]
    return sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key))


def one(provider: str, driver, args: argparse.Namespace) -> int:
    """Writes one file of expectations, or compares it; returns how many entries differ."""
    source = find_recordings(args.recordings, provider, driver.FILE)
    selected = [r for r in load(source) if r["endpoint"] in driver.ENDPOINTS]
    if not selected or (driver.FILE.startswith("compatible") and source.stem != driver.FILE):
        return 0
    expected = make(driver, selected, args.chunk_bytes)
    target = crate_dir(args.out, provider)
    if args.check:
        ids = differences(json.loads((target / driver.EXPECTED).read_text(encoding="utf-8")), expected)
        print(f"{provider} {driver.FILE}: {len(ids)} differences {' '.join(ids)}".rstrip())
        return len(ids)
    target.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(r, ensure_ascii=False, separators=(",", ":")) + "\n" for r in selected)
    (target / f"{driver.FILE}.jsonl").write_text(lines, encoding="utf-8")
    text = json.dumps(expected, ensure_ascii=False, indent=1) + "\n"
    (target / driver.EXPECTED).write_text(text, encoding="utf-8")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recordings", required=True, type=Path, help="where the recordings are")
    parser.add_argument("--out", required=True, type=Path, help="where crates' recordings are written")
    parser.add_argument("--provider", action="append", choices=DRIVERS, help="only this one (repeatable)")
    parser.add_argument("--chunk-bytes", type=int, default=97, help="size of the pieces of chunked bodies")
    parser.add_argument("--check", action="store_true", help="compare with what is there, write nothing")
    args = parser.parse_args()

    # The SDKs must neither find a proxy nor a real key, and their advice on models is no news here.
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("AWS_", "OPENAI_", "AZURE_", "ANTHROPIC_", "OLLAMA_")):
            del os.environ[name]
    warnings.simplefilter("ignore")

    different = 0
    for provider in args.provider or DRIVERS:
        for driver in DRIVERS[provider]:
            different += one(provider, driver, args)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
