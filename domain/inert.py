"""Text from which nothing can be fetched, by whatever renders it.

A space goes into whatever could begin a link, an image, a definition, a tag or an address, so that it is none: in code
too, since what is code depends on who renders (a block of formulas may swallow a fence). It is judged by what the text
says once entities and percent escapes are undone. Nothing is taken away, so nothing new can come together.

A bare address is not fetched by a renderer, but made a link, and a chat client may look at it for a preview: so it is
none either. A mail address stays, since it sends nothing by itself; and so does a host without a scheme, which is like
any other word with a dot.
"""

import re
from collections.abc import Sequence
from html.entities import html5
from urllib.parse import unquote

from domain.characters import INVISIBLE
from domain.sieve import Sieve

UNDONE = 4  # times: escapes of escapes
LABEL = 1_100  # characters: the longest label of a definition, and what may stand before it in its line

BLANK = "\x01"  # an escaped space or line end: it ends no line and no paragraph, and may look as if it did
HIDDEN = "\x02"  # an escaped character that nobody sees

SCHEMES = ("javascript", "vbscript", "data", "mailto", "xmpp", "file", "blob", "view-source")
ACTIVE = re.compile(
    rf"\](?=[(:])|!(?=\[)|<(?=[a-z/!?])|/\\?/(?=[^\s/])|www\\?\.(?=\S)|(?:{'|'.join(SCHEMES)})\\?:(?=\S)"
    rf"|&(?=\#x?[0-9a-f]{{32}})|{HIDDEN}",  # the first of these is longer than what is undone below
    re.IGNORECASE,
)
LABELLED = re.compile(rf"(?:^|{BLANK})[ \t{BLANK}{HIDDEN}>*+\-\d.)]*\[", re.MULTILINE)  # may begin a definition

NAMED = {name[:-1].lower(): sign for name, sign in html5.items() if sign.isascii() or INVISIBLE.fullmatch(sign)}
ESCAPE = re.compile(
    rf"&(?:\#(?P<decimal>[0-9]{{1,31}})(?![0-9]);?|\#x(?P<hexadecimal>[0-9a-f]{{1,31}})(?![0-9a-f]);?"
    rf"|(?P<name>{'|'.join(NAMED)});|(?P<old>lt|gt|amp|quot))"
    r"|(?P<percent>%(?:[0-7][0-9a-f]|[c-d][0-9a-f]%[89ab][0-9a-f]|e[0-9a-f](?:%[89ab][0-9a-f]){2}"
    r"|f[0-7](?:%[89ab][0-9a-f]){3}))",
    re.IGNORECASE,
)
ESCAPING = re.compile(
    r"(?:&(?:\#(?:[0-9]{0,32}|x[0-9a-f]{0,32})|[a-z][a-z0-9]{0,31})?|%[0-9a-f]?|%[c-f][0-9a-f](?:%[89ab][0-9a-f]){0,3}%?)$",
    re.IGNORECASE,
)


def _beginnings(word: str, sign: str) -> str:
    """A pattern for any beginning of a word and the sign behind it, which may be escaped."""
    if not word:
        return rf"\\?(?:{re.escape(sign)})?"
    return f"{re.escape(word[0])}(?:{_beginnings(word[1:], sign)})?"


WORDS = (("www", "."), *((name, ":") for name in SCHEMES))
COMING = re.compile(
    rf"(?:[\]!<]|&(?:\#x?[0-9a-f]{{0,31}})?|/\\?/?|{'|'.join(_beginnings(*each) for each in WORDS)})$",
    re.IGNORECASE,
)


class Inert(Sieve):
    def __init__(self) -> None:
        super().__init__()
        self._before = ""  # what was said so far, its end is enough

    def _sift(self, text: str, *, last: bool) -> tuple[str, int]:
        said, places = undone(text, last=last)
        coming = None if last else COMING.search(said)
        end = coming.start() if coming else len(said)
        end = next((found.start() for found in ACTIVE.finditer(said) if found.start() < end < found.end()), end)
        kept: list[str] = []
        at = 0
        for found in ACTIVE.finditer(said):
            if found.end() <= end and self._active(said, found):
                cut = places[found.start()] + 1 if found[0] == HIDDEN else places[found.end()]
                kept += [text[at:cut], " "]
                at = cut
        self._before = (self._before + said[:end])[-LABEL:]
        return "".join([*kept, text[at : places[end]]]), places[end]

    def _active(self, said: str, found: re.Match[str]) -> bool:
        if not said.startswith("]:", found.start()):
            return True
        start = found.start()
        before = (self._before + said[max(0, start - LABEL) : start])[-LABEL:].rpartition("\n\n")[2]
        return len(before) >= LABEL or LABELLED.search(before) is not None  # a longer label may begin before it


def undone(text: str, *, last: bool = True) -> tuple[str, Sequence[int]]:
    """(what a text says without escapes, where in it each character of that stands, and its end).

    Only of escapes for ASCII and for what nobody sees, with BLANK and HIDDEN for what is no sign. Unless it is the
    last text, what may be the beginning of an escape is left out.
    """
    said, places = text, list(range(len(text) + 1))
    for _ in range(UNDONE):
        if "&" not in said and "%" not in said:
            break
        if not last and (escaping := ESCAPING.search(said)):
            said, places = said[: escaping.start()], places[: escaping.start() + 1]
        shorter: list[str] = []
        stand: list[int] = []
        at = 0
        for found in ESCAPE.finditer(said):
            meaning = _meaning(found)
            if meaning is not None:
                shorter += [said[at : found.start()], meaning]
                stand += [*places[at : found.start()], *places[found.start() : found.start() + len(meaning)]]
                at = found.end()
        said, places = "".join([*shorter, said[at:]]), [*stand, *places[at:]]
    return said, places


def _meaning(escape: re.Match[str]) -> str | None:
    """One character, BLANK or HIDDEN; None for what is neither ASCII nor unseen."""
    parts = escape.groupdict()
    if parts["percent"]:
        sign = unquote(parts["percent"])
    elif name := parts["name"] or parts["old"]:
        sign = NAMED[name.lower()]
    else:
        code = int(parts["decimal"]) if parts["decimal"] else int(parts["hexadecimal"], 16)
        sign = chr(code) if code <= 0x10FFFF else ""
    if INVISIBLE.match(sign) or (sign < " " and sign not in "\t\n") or sign == "\x7f":
        return HIDDEN
    if sign.isspace():
        return BLANK
    return sign if sign.isascii() and len(sign) == 1 else None
