"""Parsed text to chunks: whole sentences, packed up to a number of the embedding model's tokens.

1. Sentences are found within each block, so that no chunk reaches over a heading.
2. One that is too long is cut at token offsets.
3. They are packed until the next does not fit, or until a blank line once the chunk is well begun.
"""

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice, pairwise
from pathlib import PurePath

from domain.characters import normalized
from domain.documents import SUFFIXES, Block, Parsed, Span
from domain.ports import Tokenizer
from domain.sentences import sentences, trimmed

VERSION = 1  # raise it when the same text gives other chunks: an index made before is then of another generation

MAX_TOKENS = 256
WELL_BEGUN = 0.3 * MAX_TOKENS  # packing across paragraphs beyond this costs recall at rank 1
MAX_CHARACTERS = 8 * MAX_TOKENS  # a token may stand for any length of blanks or of unknown letters
CONTEXT_CHARACTERS = 200  # a character gives at most one token, so context and span stay below the model's 512
BATCH = 500  # sentences counted in one call; between calls other tasks get their turn
BLANK_LINE = re.compile(r"\n[^\S\n]*\n")


@dataclass(frozen=True, slots=True)
class _Piece:
    """A sentence, or a part of a long one, that fits a chunk by itself."""

    start: int
    end: int
    tokens: int
    block: Block


async def chunk(parsed: Parsed, tokenizer: Tokenizer) -> list[Span]:
    """Spans in order, disjoint, together holding all text that is not blank; the same for the same text.

    Page and heading path are those of the place where a span starts.
    """
    spans: list[Span] = []
    tokens = 0
    async for piece in _pieces(parsed, tokenizer):
        if spans and _fits(parsed.text, spans[-1], tokens, piece):
            spans[-1] = replace(spans[-1], end=piece.end)
            tokens += piece.tokens
        else:
            spans.append(Span(len(spans), piece.start, piece.end, piece.block.page, piece.block.heading))
            tokens = piece.tokens
    return spans


def context(title: str, heading: Sequence[str]) -> str:
    """`title > heading > heading` and a line end: goes before a span where it is embedded and analysed, never stored.

    Empty without title and headings; a file name is no title. Cut at 200 characters.
    """
    named = PurePath(title).suffix.lower() in SUFFIXES
    names = [] if named else [title]
    parts = [" ".join(normalized("NFKC", name).split()) for name in (*names, *heading)]
    path = " > ".join(part for part, _ in groupby(parts) if part)
    return f"{path[:CONTEXT_CHARACTERS].rstrip()}\n" if path else ""


def _fits(text: str, span: Span, tokens: int, piece: _Piece) -> bool:
    if piece.block.heading != span.heading:
        return False
    if tokens + piece.tokens > MAX_TOKENS or piece.end - span.start > MAX_CHARACTERS:
        return False
    return tokens < WELL_BEGUN or not BLANK_LINE.search(text, span.end, piece.start)


async def _pieces(parsed: Parsed, tokenizer: Tokenizer) -> AsyncIterator[_Piece]:
    places = _places(parsed)
    while batch := list(islice(places, BATCH)):
        counts = await tokenizer.counts([parsed.text[start:end] for start, end, _ in batch])
        for (start, end, block), tokens in zip(batch, counts, strict=True):
            if tokens <= MAX_TOKENS:
                yield _Piece(start, end, tokens, block)
                continue
            async for piece in _parts(parsed.text, start, end, block, tokenizer):
                yield piece


def _places(parsed: Parsed) -> Iterator[tuple[int, int, Block]]:
    for block in parsed.blocks:
        for start, end in sentences(parsed.text, block.start, block.end):
            for first, last in _between(parsed.text, start, end, _windows(parsed.text, start, end)):
                yield first, last, block


def _windows(text: str, start: int, end: int) -> Iterator[int]:
    """Where a sentence of very many characters is cut first: at white space if there is some in reach."""
    while end - start > MAX_CHARACTERS:
        space = text.rfind(" ", start + MAX_CHARACTERS // 2, start + MAX_CHARACTERS)
        start = space if space > 0 else start + MAX_CHARACTERS
        yield start


async def _parts(text: str, start: int, end: int, block: Block, tokenizer: Tokenizer) -> AsyncIterator[_Piece]:
    cuts = [start + cut for cut in await tokenizer.cuts(text[start:end], MAX_TOKENS)]
    places = list(_between(text, start, end, cuts))
    counts = await tokenizer.counts([text[first:last] for first, last in places])
    for (first, last), tokens in zip(places, counts, strict=True):
        yield _Piece(first, last, tokens, block)


def _between(text: str, start: int, end: int, cuts: Iterable[int]) -> Iterator[tuple[int, int]]:
    edges = [start, *(cut for cut in cuts if start < cut < end), end]
    for first, last in pairwise(edges):
        yield from trimmed(text, first, last)
