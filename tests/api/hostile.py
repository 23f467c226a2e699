"""The 25 JSON bodies that break parsers, put into any field of a body."""

import json
from collections.abc import Callable
from typing import Any

MARK = "\ue000mark\ue000"  # what is replaced by the raw text


def _value(raw: str | bytes) -> Callable[[dict[str, Any], str], bytes]:
    """The raw text as the value of the field."""
    data = raw.encode() if isinstance(raw, str) else raw

    def made(body: dict[str, Any], field: str) -> bytes:
        text = json.dumps({**body, field: MARK}, ensure_ascii=False).encode()
        return text.replace(json.dumps(MARK, ensure_ascii=False).encode(), data)

    return made


def _member(raw: str) -> Callable[[dict[str, Any], str], bytes]:
    """One more member before the others; `%` is the field's name."""
    return lambda body, field: b"{" + raw.replace("%", field).encode() + b", " + json.dumps(body).encode()[1:]


def _whole(change: Callable[[str], bytes]) -> Callable[[dict[str, Any], str], bytes]:
    return lambda body, _: change(json.dumps(body))


BODIES: dict[str, Callable[[dict[str, Any], str], bytes]] = {
    "J01 NaN": _value("NaN"),
    "J02 Infinity": _value("Infinity"),
    "J03 -Infinity": _value("-Infinity"),
    "J04 1e400": _value("1e400"),
    "J05 -0": _value("-0"),
    "J06 4000 digits": _value("9" * 4000),
    "J07 5000 digits": _value("9" * 5000),
    "J08 high surrogate": _value(r'"\ud800"'),
    "J09 low surrogate": _value(r'"\udfff"'),
    "J10 surrogate as key": _member(r'"\ud800": 1'),
    "J11 NUL": _value(r'"a\u0000b"'),
    "J12 BOM": _whole(lambda text: b"\xef\xbb\xbf" + text.encode()),
    "J13 UTF-16": _whole(lambda text: text.encode("utf-16")),
    "J14 UTF-32": _whole(lambda text: text.encode("utf-32")),
    "J15 bad UTF-8": _value(b'"\xff\xfe"'),
    "J16 duplicate key": _member('"%": 1, "%": 2'),
    "J17 __proto__": _member('"__proto__": {"admin": true}'),
    "J18 depth 900": _value("[" * 900 + "]" * 900),
    "J19 depth 100000": _value("[" * 100_000 + "]" * 100_000),
    "J20 10^6 keys": _value("{" + ",".join(f'"{n}":0' for n in range(1_000_000)) + "}"),
    "J21 50 MB string": _value('"' + "a" * 50_000_000 + '"'),
    "J22 empty": _whole(lambda _: b""),
    "J23 null": _value("null"),
    "J24 trailing garbage": _whole(lambda text: text.encode() + b" garbage"),
    "J25 two documents": _whole(lambda text: (text + text).encode()),
}
MALFORMED = {name for name in BODIES if name[:3] in ("J12", "J13", "J14", "J24", "J25")} | {
    name
    for name in BODIES
    if name[:3] in ("J01", "J02", "J03", "J04", "J06", "J07", "J08", "J09", "J10", "J11", "J15", "J16", "J18", "J19")
}
TOO_LARGE = {"J20 10^6 keys", "J21 50 MB string"}
