"""Widen what a question found: the chunks beside it, out of the document's own text.

The places are those of the version that was found, so no neighbour lies outside of what was asked for.
"""

import asyncio
import codecs
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import structlog

from activities.retrieval import Found
from activities.spans import decode
from activities.timings import since
from domain import names
from domain.accounts import Principal
from domain.errors import BlobsUnavailable, NotFound
from domain.passages import Context, Layout, Piece, around, beside, merged, pieces, room, share
from domain.ports import Blobs, Tokenizer
from domain.usage import cautious

SECONDS = 1.0  # neighbours are not worth a longer wait

_log = structlog.get_logger()


class Reader:
    """`most`: tokens for the passages of an answer, counted cautiously."""

    def __init__(self, blobs: Blobs, tokenizer: Tokenizer, most: int) -> None:
        self._blobs = blobs
        self._tokenizer = tokenizer
        self._most = most

    async def widen(self, principal: Principal, found: Found, k: int) -> Found:
        """The same with merged passages; without the texts' store every chunk stands alone, as it was found."""
        began = time.perf_counter()
        context = Context(room(k, self._most), share(found.candidates))
        await self._fill(context, pieces(found.passages))
        layouts = await self._layouts(principal, context.pieces)
        await self._fill(context, beside(context.pieces, layouts))
        timings = {**found.timings, "widen": since(began)}
        return replace(found, passages=merged(context.pieces, layouts), timings=timings)

    async def _fill(self, context: Context, pieces: Sequence[Piece]) -> None:
        counts = await self._tokenizer.counts([piece.text for piece in pieces])
        context.fill(pieces, [cautious(count) for count in counts])

    async def _layouts(self, principal: Principal, pieces: Sequence[Piece]) -> dict[str, Layout]:
        of_document: dict[str, list[Piece]] = {}
        for piece in pieces:
            of_document.setdefault(piece.document_id, []).append(piece)
        try:
            async with asyncio.timeout(SECONDS):
                read = await asyncio.gather(*(self._layout(principal, some) for some in of_document.values()))
        except (BlobsUnavailable, TimeoutError) as error:
            _log.warning("passages_not_widened", error=type(error).__name__)
            return {}
        return {document_id: layout for document_id, layout in zip(of_document, read, strict=True) if layout}

    async def _layout(self, principal: Principal, pieces: Sequence[Piece]) -> Layout | None:
        """Of one document; None when it is being deleted."""
        hit = pieces[0].found.hit
        text, chunks = (names.blob(hit.document_id, hit.version, name) for name in ("text", "chunks.json"))
        try:
            spans = decode(await self._blobs.get(principal, chunks))
            places = around({piece.ordinal for piece in pieces}, spans)
            return Layout(spans, await _cut(self._blobs.stream(principal, text), places))
        except NotFound:
            return None


async def _cut(text: AsyncIterator[bytes], places: Mapping[int, tuple[int, int]]) -> dict[int, str]:
    """These places of a text that may be long: never the whole of it is held, for many ask at once."""
    decoder, at = codecs.getincrementaldecoder("utf-8")(), 0
    found = dict.fromkeys(places, "")
    async for data in text:
        piece = decoder.decode(data)
        for ordinal, (start, end) in places.items():
            found[ordinal] += piece[max(start - at, 0) : max(end - at, 0)]
        at += len(piece)
    return found
