"""JSON as RFC 8259 means it, and no more than a store can keep: what the standard library lets pass is refused here."""

import json
import math
from collections.abc import Iterator
from typing import Any

from domain.errors import MalformedRequest

DEEPEST = 64
LONGEST_INTEGER = 20  # characters of one that fits into 64 bits


def loads(body: bytes) -> Any:
    """Raises MalformedRequest, which never quotes the body."""
    try:
        value = json.loads(
            body.decode("utf-8"),
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_storable,
            object_pairs_hook=_unique,
        )
    except RecursionError:
        raise MalformedRequest("The JSON is nested too deeply.") from None
    except UnicodeDecodeError:
        raise MalformedRequest("Send JSON in UTF-8.") from None
    except ValueError:
        raise MalformedRequest("The body is no valid JSON.") from None
    for text in _texts(value):
        _keepable(text)
    return value


def _no_constant(name: str) -> None:
    raise MalformedRequest("NaN and Infinity are no JSON.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise MalformedRequest("A number is too large.")
    return number


def _storable(text: str) -> int:
    if len(text) > LONGEST_INTEGER or not -(2**63) <= int(text) < 2**63:
        raise MalformedRequest("An integer does not fit into 64 bits.")
    return int(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedRequest("An object names the same key twice.")
    return found


def _texts(value: Any) -> Iterator[str]:
    """Every string in it, keys too, without recursion."""
    level = [value]
    for _ in range(DEEPEST + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                yield item
            elif isinstance(item, dict):
                yield from item
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return
        level = below
    raise MalformedRequest("The JSON is nested too deeply.")


def _keepable(text: str) -> None:
    """Postgres keeps no NUL and UTF-8 no lone surrogate."""
    if "\0" in text:
        raise MalformedRequest("A string holds the character NUL.")
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedRequest("A string holds half of a surrogate pair.") from None
