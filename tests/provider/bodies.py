"""Bodies of the OpenAI protocol: completions whole and in pieces, embeddings, models, errors."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.provider import words
from tests.provider.script import CANARY, Ask, Fault

CREATED = 1_700_000_000
DONE = b"data: [DONE]\n\n"


def dump(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def event(body: object) -> bytes:
    return b"data: " + dump(body) + b"\n\n"


def error(status: int, code: str | None) -> bytes:
    kind = {401: "authentication_error", 429: "rate_limit_error"}.get(status, "invalid_request_error")
    return dump({"error": {"message": CANARY, "type": kind, "param": None, "code": code}})


def error_event(code: str | None) -> bytes:
    return event({"error": {"message": CANARY, "type": "server_error", "param": None, "code": code}})


def usage(prompt: int, completion: int) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def completion(number: int, model: str, text: str, finish: str, used: dict[str, Any]) -> bytes:
    message = {"role": "assistant", "content": text, "refusal": None}
    body = {**_envelope(number, model, "chat.completion"), "choices": [_choice("message", message, finish)]}
    return dump({**body, "usage": used} if used else body)


def opening(number: int, model: str) -> bytes:
    delta = {"role": "assistant", "content": ""}
    return event({**_envelope(number, model, "chat.completion.chunk"), "choices": [_choice("delta", delta, None)]})


def deltas(number: int, model: str, pieces: Sequence[str]) -> list[bytes]:
    """One event per piece; only the piece changes, so the rest is written once."""
    mark = "\x00"
    empty = {
        **_envelope(number, model, "chat.completion.chunk"),
        "choices": [_choice("delta", {"content": mark}, None)],
    }
    before, after = event(empty).split(json.dumps(mark).encode())
    return [before + json.dumps(piece).encode() + after for piece in pieces]


def closing(number: int, model: str, finish: str) -> bytes:
    return event({**_envelope(number, model, "chat.completion.chunk"), "choices": [_choice("delta", {}, finish)]})


def final_usage(number: int, model: str, used: dict[str, Any]) -> bytes:
    return event({**_envelope(number, model, "chat.completion.chunk"), "choices": [], "usage": used})


def embeddings(ask: Ask, model: str, dimensions: int, tokens: int, fault: Fault) -> bytes:
    """One vector per input, as base64 when the request says so."""
    vectors = [words.embed(text, dimensions) for text in ask.inputs]
    packed = ask.body.get("encoding_format") == "base64" and fault.vectors != "unpacked"
    rows = [_row(index, _spoilt(vector, fault), packed) for index, vector in enumerate(vectors)]
    if fault.vectors == "few":
        rows = rows[:-1]
    if fault.vectors == "shuffled":
        rows.reverse()
    used = {"prompt_tokens": tokens, "total_tokens": tokens} if fault.usage is None else fault.usage
    return dump({"object": "list", "model": model, "data": rows, "usage": used})


def models(names: Sequence[str]) -> bytes:
    rows = [{"id": name, "object": "model", "created": CREATED, "owned_by": "tests"} for name in names]
    return dump({"object": "list", "data": rows})


def _spoilt(vector: np.ndarray[Any, Any], fault: Fault) -> np.ndarray[Any, Any]:
    if fault.vectors == "short":
        return vector[:-1]
    if fault.vectors == "nan":
        return np.where(np.arange(vector.size) == 0, np.float32("nan"), vector)
    return vector * {"zero": 0, "long": 3}.get(fault.vectors or "", 1)


def _row(index: int, vector: np.ndarray[Any, Any], packed: bool) -> dict[str, Any]:
    value = base64.b64encode(vector.astype("<f4").tobytes()).decode() if packed else vector.tolist()
    return {"object": "embedding", "index": index, "embedding": value}


def _choice(field: str, value: dict[str, Any], finish: str | None) -> dict[str, Any]:
    return {"index": 0, field: value, "logprobs": None, "finish_reason": finish}


def _envelope(number: int, model: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{number}", "object": kind, "created": CREATED, "model": model}
