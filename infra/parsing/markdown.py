"""The heading structure of a Markdown text; the text itself stays as it is, so that offsets point into it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from domain.documents import Block
from domain.errors import ResourceLimit
from infra.parsing.limits import BLOCKS, HEADING

ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]|$)")
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
UNDERLINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*$")
NO_PARAGRAPH = re.compile(r" {4}|\t| {0,3}(?:[-+*>|#]|\d{1,9}[.)] )")  # what an underline does not make a heading


@dataclass(frozen=True, slots=True)
class _Heading:
    level: int
    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    start: int
    end: int


def blocks(text: str) -> tuple[Block, ...]:
    """One block per section, from its heading on. Headings that follow each other directly open one block together.

    Raises ResourceLimit for more than 50,000 sections.
    """
    found: list[Block] = []
    path: dict[int, str] = {}
    start, body = 0, 0
    for heading in _headings(text):
        if text[body : heading.start].strip():
            found.append(Block(start, heading.start, heading=tuple(path.values())))
            start = heading.start
        path = {level: name for level, name in path.items() if level < heading.level} | {heading.level: heading.name}
        body = heading.end
        if len(found) >= BLOCKS:
            raise ResourceLimit
    return (*found, Block(start, len(text), heading=tuple(path.values())))


def _headings(text: str) -> Iterator[_Heading]:
    """ATX headings and single lines that are underlined, outside fenced code and front matter."""
    fence = ""
    above, before = _BLANK, _BLANK  # the line above, and the one before that
    for line in _lines(text):
        opening = FENCE.match(line.text)
        if fence:
            if opening and opening[1].startswith(fence) and not line.text[opening.end() :].strip():
                fence = ""
        elif opening:
            fence = opening[1]
        elif found := ATX.match(line.text):
            yield _heading(len(found[1]), line.text[found.end() :], line.start, line.end)
        elif UNDERLINE.match(line.text) and _paragraph(above) and not before.text.strip():
            yield _heading(1 if "=" in line.text else 2, above.text, above.start, line.end)
        above, before = (_BLANK if fence or opening else line), above


_BLANK = _Line("", 0, 0)


def _paragraph(line: _Line) -> bool:
    return bool(line.text.strip()) and not NO_PARAGRAPH.match(line.text)


def _heading(level: int, name: str, start: int, end: int) -> _Heading:
    name = name.strip().rstrip("#").strip(" \t*_`")
    return _Heading(level, " ".join(name[:HEADING].split()), start, end)


def _lines(text: str) -> Iterator[_Line]:
    """Every line without its end; front matter is left out."""
    start = _front_matter(text)
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield _Line(text[start:end], start, end)
        start = end + 1


def _front_matter(text: str) -> int:
    """Where the text begins after a `---` block at the very top; 0 without one."""
    if not text.startswith("---\n"):
        return 0
    end = text.find("\n---\n", 3)
    return end + 5 if end > 0 else 0
