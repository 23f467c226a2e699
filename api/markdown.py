"""Markdown in which words of users, models and documents stay words, whoever renders it.

No image, link, HTML, heading, list or code can come of them: what has a meaning is escaped, in the ways that every
dialect understands.
"""

import re
from collections.abc import Iterator

from domain.characters import CONTROLS

ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}  # not every dialect knows a backslash before them
SPECIAL = re.compile(r"(?P<entity>[&<>])|(?P<at>@+)|(?P<mark>[\\`*_{}\[\]()#+\-!|~:=$^\"']|\.(?=\S)|(?<=\d)\.)")
INDENT = re.compile(r"^[ \t]")
LINE_END = re.compile(r"\r\n|\r|\n")


def inline(text: str) -> str:
    """In one line."""
    return _escaped(" ".join(text.split()))


def quoted(text: str, indent: str = "") -> Iterator[str]:
    """Lines of a block quote; each line of the text stays a line of its own."""
    lines = [_escaped(line) for line in LINE_END.split(text)]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        hard = "  " if line.strip() and following.strip() else ""
        yield f"{indent}> {line}{hard}".rstrip("\n")


def _escaped(line: str) -> str:
    text = SPECIAL.sub(_inert, CONTROLS.sub("\N{REPLACEMENT CHARACTER}", line))
    return INDENT.sub(lambda found: f"&#{ord(found[0])};", text)


def _inert(found: re.Match[str]) -> str:
    if found["entity"]:
        return ENTITIES[found["entity"]]
    if found["at"]:  # addresses and mentions are linked even where it is escaped, but not in a code span
        return f"`{found['at']}`"
    return f"\\{found['mark']}"
