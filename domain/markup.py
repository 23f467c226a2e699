"""Markdown and HTML that points elsewhere, down to the words in it: a link to its text, an image to its description.

This is for the reader's sake. That nothing can be fetched is what `domain/inert.py` sees to, whatever is recognised
here; so code keeps its brackets, and what is too long or too odd may pass.
"""

import re

from domain.sieve import Sieve

LONGEST = 600  # characters of a link, a tag or a stretch of code: so much may have to be held back
NESTED = 4  # an image in a link, and some
FENCE = 3  # marks that open a block of code

START = re.compile(r"`+|~{3,}|!\[|\[|<|(?:https?|ftps?|wss?)://|www\.", re.IGNORECASE)
COMING = re.compile(r"(?:!|~{1,2}|w{1,3}|h|ht|htt|f|ft|ws|(?:https?|ftps?|wss?):?/?)$", re.IGNORECASE)
BRACKET = re.compile(r"[\[\]]|\n[ \t]*\n")
PARENTHESIS = re.compile(r"[()]|\n[ \t]*\n")
TARGET = re.compile(
    r"""\(\s*(?:<[^<>\n]*>|[^\s()]*(?:\([^\s()]*\)[^\s()]*)*)(?:\s+(?:"[^"]*"|'[^']*'|\([^()]*\)))?\s*\)"""
)
NUMBERS = re.compile(r"[\d ,]+")  # a citation's
BEGINNING = re.compile(r"[\s>*+\-\d.)]*")  # of a line, before what stands in a quotation or a list
TAG = re.compile(r"</?([a-z][a-z0-9]*)", re.IGNORECASE)
AUTOLINK = re.compile(r"<([a-z][a-z0-9+.-]*:[^\s<>]*)>", re.IGNORECASE)
DESCRIPTION = re.compile(r"""\salt\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+))""", re.IGNORECASE)
ADDRESS = re.compile(r"((?:https?|ftps?|wss?)://)?(www\.)?", re.IGNORECASE)

INLINE = frozenset("a abbr b bdi bdo big cite code del em font i ins kbd mark q s small span strong sub sup u".split())
ELEMENTS = INLINE | frozenset(
    "address applet area article aside audio base blockquote body br button canvas caption center col colgroup dd"
    " details dialog div dl dt embed fieldset figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head"
    " header hr html iframe image img input label legend li link main map marquee math meta nav noscript object ol"
    " option p param picture pre script section select source style summary svg table tbody td template textarea"
    " tfoot th thead title tr track ul video".split()
)


class Unfinished(Exception):
    """What comes next decides."""


class Markup(Sieve):
    def __init__(self) -> None:
        super().__init__()
        self._fence = ""  # the marks that opened the block of code this is in
        self._line = ""  # as it came so far, its end is enough

    def _sift(self, text: str, *, last: bool) -> tuple[str, int]:
        kept: list[str] = []
        at = 0
        while found := START.search(text, at):
            kept.append(self._read(text[at : found.start()]))
            at = found.start()
            window = text[at : at + LONGEST]
            try:
                words, length = self._replaced(window, last=last or len(window) == LONGEST)
            except Unfinished:
                return "".join(kept), at
            self._read(window[:length])
            kept.append(words)
            at += length
        coming = None if last else COMING.search(text, at)
        end = coming.start() if coming else len(text)
        return "".join([*kept, self._read(text[at:end])]), end

    def _read(self, text: str) -> str:
        self._line = (self._line + text).rpartition("\n")[2][-LONGEST:]
        return text

    def _replaced(self, text: str, *, last: bool) -> tuple[str, int]:
        """What becomes of what starts here, and its length. Raises Unfinished, but not at the last."""
        if text[0] in "`~":
            return self._code(text, last=last)
        if self._fence:
            return text[0], 1
        try:
            if text[0] in "![":
                return self._link(text)
            return _tag(text) if text[0] == "<" else self._address(text, last=last)
        except Unfinished:
            if not last:
                raise
            return text[0], 1

    def _code(self, text: str, *, last: bool) -> tuple[str, int]:
        """Code stays as it is; blocks are told by their fences alone."""
        length = len(text) - len(text.lstrip(text[0]))
        marks = text[:length]
        line = re.match(r"[^`\n]*(.?)", text[length:], re.DOTALL)
        assert line is not None
        if not last and not line[1]:
            raise Unfinished
        if BEGINNING.fullmatch(self._line) and length >= FENCE:
            if not self._fence and line[1] != "`":
                self._fence = marks
            elif self._fence and marks.startswith(self._fence) and not line[0].strip():
                self._fence = ""
        elif not self._fence and text[0] == "`":
            return _span(text, length, last=last)
        return marks, length

    def _link(self, text: str) -> tuple[str, int]:
        opening = text.index("[")
        if not opening and self._line[-1:].isascii() and self._line[-1:].isalnum():  # `list[0](x)`
            return text[0], 1
        closing = _closing(text, opening, BRACKET)
        end = None if closing is None else _target(text, closing + 1, image=opening > 0)
        if closing is None or end is None:
            return text[0], 1
        words = text[opening + 1 : closing]
        cited = not opening and NUMBERS.fullmatch(words)
        return f"[{words}]" if cited else plain(words), end + 1

    def _address(self, text: str, *, last: bool) -> tuple[str, int]:
        """Without its scheme it is words; the bare word `https://` stays."""
        found = ADDRESS.match(text)
        assert found is not None
        following = text[found.end() : found.end() + 1]
        if not last and (not following or "www.".startswith(text[max(found.end(1), 0) :].lower())):
            raise Unfinished
        named = following.isalnum() or following == "["
        inside = found[1] is None and self._line[-1:].isalnum()
        return ("" if named and not inside else found[0]), found.end()


def plain(text: str) -> str:
    markup = Markup()
    return markup.feed(text) + markup.rest()


def _span(text: str, length: int, *, last: bool) -> tuple[str, int]:
    """Code between equal marks in one line."""
    closing = re.compile(rf"(?<!`)`{{{length}}}(?!`)|\n").search(text, length)
    if not last and (closing is None or closing.end() == len(text)):
        raise Unfinished
    end = length if closing is None or closing[0] == "\n" else closing.end()
    return text[:end], end


def _tag(text: str) -> tuple[str, int]:
    if "<!--".startswith(text[:4]):
        if (end := text.find("-->", 4)) < 0:
            raise Unfinished
        return "", end + 3
    found = TAG.match(text)
    if found is None and text != "</":
        return text[0], 1
    closing = re.search(r"[<>]", text[1:])
    if closing is None or found is None:
        raise Unfinished
    whole = text[: closing.end() + 1]
    if autolink := AUTOLINK.fullmatch(whole):
        return plain(autolink[1]), len(whole)
    name, attributes = found[1].lower(), whole[found.end() : -1].strip("/ \t\n")
    if name not in ELEMENTS or whole[-1] == "<" or (attributes and "=" not in attributes):  # `a <b and c> d`
        return text[0], 1
    description = DESCRIPTION.search(whole)
    words = plain(next(filter(None, description.groups()), "")) if description else ""
    return words or ("" if name in INLINE or name == "img" else " "), len(whole)


def _target(text: str, at: int, *, image: bool) -> int | None:
    """Where the target of a link ends that begins here; None where none does. Raises Unfinished."""
    if at == len(text):
        raise Unfinished
    if text[at] == "[" and image:
        return _closing(text, at, BRACKET)
    end = _closing(text, at, PARENTHESIS) if text[at] == "(" else None
    return end if end is not None and TARGET.fullmatch(text, at, end + 1) else None


def _closing(text: str, at: int, pattern: re.Pattern[str]) -> int | None:
    """Where the bracket at `at` is closed; None where it is not. Raises Unfinished."""
    depth = 0
    for found in pattern.finditer(text, at):
        depth += 1 if found[0] == text[at] else -1
        if depth == 0:
            return found.start()
        if depth > NESTED or found[0][0] == "\n":
            return None
    raise Unfinished
