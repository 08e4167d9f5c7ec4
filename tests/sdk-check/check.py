"""Do the vendors' own Python SDKs work, unchanged, against what `llms-bench mock serve` simulates?

One line a check (`ok`, or `FAILED` with the reason), at the end `N passed, M failed`; exits 1 if any failed, 2 if
the server does not answer. `cargo xtask sdk-check` installs the SDKs, starts a server and calls this; by hand:

    python check.py http://127.0.0.1:8399 [--filter TEXT] [--list]

Over HTTPS (`--https`) the certificate must be known: SSL_CERT_FILE and AWS_CA_BUNDLE.
"""

from __future__ import annotations

import argparse
import importlib
import os
import socket
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from common import CHECKS, Check, Target, Wrong

MODULES = ("checks_openai", "checks_responses", "checks_anthropic", "checks_bedrock", "checks_ollama", "checks_secure")


def reachable(base: str) -> bool:
    parts = urlsplit(base)
    try:
        socket.create_connection((parts.hostname, parts.port or 80), timeout=5).close()
    except OSError as error:
        print(f"cannot connect to {base} ({error}); start `llms-bench mock serve --port N` first", file=sys.stderr)
        return False
    return True


def outcome(check: Check, target: Target) -> tuple[bool, str]:
    began, reason = time.monotonic(), ""
    try:
        check.run(target)
    except Wrong as wrong:
        reason = str(wrong)
    except Exception as error:  # whatever an SDK raises unasked is the finding
        reason = f"{type(error).__name__}: {error}"
    took = f"{(time.monotonic() - began) * 1000:.0f} ms"
    if reason:
        return False, f"FAILED  {check} ({took}): {' '.join(reason.split())[:400]}"
    return True, f"ok      {check} ({took})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("base", help="base URL of the server, as http://127.0.0.1:8399")
    parser.add_argument("--filter", default="", help="only checks whose name contains this")
    parser.add_argument("--https", default="", help="base URL of a server with HTTPS that knows --pair")
    parser.add_argument("--pair", default=":", metavar="KEY:SECRET", help="the AWS credentials that it knows")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--jobs", type=int, default=6, help="checks at the same time")
    args = parser.parse_args()
    # The SDKs must find neither a proxy nor a real key nor another address.
    for name in list(os.environ):
        theirs = name.startswith(("AWS_", "OPENAI_", "AZURE_", "ANTHROPIC_", "OLLAMA_")) and name != "AWS_CA_BUNDLE"
        if theirs or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    warnings.simplefilter("ignore")
    for module in MODULES:
        importlib.import_module(module)
    chosen = [check for check in CHECKS if args.filter in str(check) and (args.https or check.group != "python https")]
    if args.list:
        print(*chosen, sep="\n")
        return 0
    if not reachable(args.base):
        return 2
    key, secret = args.pair.split(":", 1)
    target, passed = Target(args.base.rstrip("/"), https=args.https.rstrip("/"), pair=(key, secret)), 0
    with ThreadPoolExecutor(args.jobs) as pool:
        for ok, line in pool.map(lambda check: outcome(check, target), chosen):
            print(line, flush=True)
            passed += ok
    print(f"{passed} passed, {len(chosen) - passed} failed", flush=True)
    return 0 if passed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
