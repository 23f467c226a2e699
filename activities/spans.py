"""The chunks of a version as they lie in its blob `chunks.json`: places in the parsed text, never a word of it."""

import json
from collections.abc import Sequence

from domain.documents import Span


def encode(spans: Sequence[Span]) -> bytes:
    return json.dumps([(span.ordinal, span.start, span.end, span.page, span.heading) for span in spans]).encode()


def decode(data: bytes) -> list[Span]:
    rows = json.loads(data)
    return [Span(ordinal, start, end, page, tuple(heading)) for ordinal, start, end, page, heading in rows]
