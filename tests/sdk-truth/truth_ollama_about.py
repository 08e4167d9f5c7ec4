"""What Ollama says about itself and its models (tags, ps, show, version) through `ollama`.

An entry is what the SDK's typed answer holds, under the SDK's names, nulls dropped; long texts (licence,
template, Modelfile, tensors) as their length only. The SDK has no call for the version: its JSON is as it came.
"""

from __future__ import annotations

import json
from urllib.request import urlopen

import ollama

from truth import without_nulls
from truth_ollama import NAME, VERSION  # noqa: F401  (part of a driver)

FILE, EXPECTED = "about", "about.expected.json"
ENDPOINTS = ("/api/tags", "/api/ps", "/api/show", "/api/version")
LONG = ("license", "template", "modelfile", "tensors", "parameters")


def call(recording: dict, url: str) -> dict:
    client = ollama.Client(host=url, timeout=30)
    body = json.loads(recording["request"]["body"] or "{}")
    try:
        match recording["endpoint"]:
            case "/api/tags":
                told = client.list()
            case "/api/ps":
                told = client.ps()
            case "/api/show":
                told = client.show(body["model"])
            case _:
                with urlopen(f"{url}/api/version", timeout=30) as reply:
                    return {"status": reply.status, "answer": json.load(reply)}
    finally:
        client._client.close()
    told = json.loads(told.model_dump_json(by_alias=False))
    # The SDK parses times; what it prints of them is Python's business, not the wire's.
    for model in told.get("models", []):
        model.pop("modified_at", None), model.pop("expires_at", None)
    told.pop("modified_at", None)
    told = {key: (len(value) if key in LONG and value is not None else value) for key, value in told.items()}
    return {"status": recording["response"]["status"], "answer": without_nulls(told)}
