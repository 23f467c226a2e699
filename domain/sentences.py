"""Where sentences begin and end: what chunks are packed from, and what an answer may quote."""

import re
from collections.abc import Iterator

BREAK = re.compile(r"""(?<=[.!?。！？])["')\]”’」』]*\s+|\n+""")
SHORTEST = 3  # words of a sentence that says something; headings and list markers have fewer


def sentences(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """(start, end) of each sentence of `text[start:end]`, without the white space around it; none is blank.

    A line end closes a sentence. Closing quotes and brackets belong to the sentence they close.
    """
    end = len(text) if end is None else end
    begin = start
    for found in BREAK.finditer(text, start, end):
        yield from trimmed(text, begin, found.end())
        begin = found.end()
    yield from trimmed(text, begin, end)


def trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The stretch without the white space around it; nothing when it is blank."""
    piece = text[start:end]
    if piece and not piece.isspace():
        yield start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())


def is_fragment(sentence: str) -> bool:
    """Too short to be an answer: a heading, a label, the marker of a list."""
    return len([word for word in sentence.split() if any(letter.isalnum() for letter in word)]) < SHORTEST
