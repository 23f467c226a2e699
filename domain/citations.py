"""Which passages an answer stands on, and the exact words of each: decided by us, never by a model."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from domain.analysis import terms
from domain.search import Passage, Source
from domain.sentences import is_fragment, sentences

MARKER = re.compile(r" ?\[(\d{1,2}(?: ?, ?\d{1,2}){0,15})\]")
UNFINISHED = re.compile(r" ?(?:\[(?:\d{1,2}(?: ?, ?\d{1,2}){0,15}(?: ?,? ?)?)?)?$")  # may still become a marker
NESTING = 64  # characters to look back for a marker that another one stands in
OPENED = re.compile(rf"\[[\d, ]*$|^[\d, ]{{{NESTING}}}$")
DROPPED_MARKER = "dropped_marker"
WORTHWHILE = 2  # further terms a second sentence must bring to be quoted as well


@dataclass(frozen=True, slots=True)
class Cited:
    """An answer whose markers all point somewhere, and one source per passage, in order, counted from 1."""

    text: str
    sources: tuple[Source, ...]
    flags: tuple[str, ...] = ()


class Markers:
    """Checks the markers of an answer while it comes: what it lets through, joined, is the text of `cite`."""

    def __init__(self, passages: int) -> None:
        self.changed = False
        self._passages = passages
        self._before = ""
        self._held = ""

    def feed(self, piece: str) -> str:
        """What is certain by now."""
        if not self._passages:
            return piece
        text = self._held + piece
        unfinished = UNFINISHED.search(text)
        return self._passed(text, unfinished.start() if unfinished else len(text))

    def rest(self) -> str:
        return self._passed(self._held, len(self._held))

    def _passed(self, text: str, end: int) -> str:
        before, self._before, self._held = self._before, (self._before + text[:end])[-NESTING:], text[end:]
        kept = _checked(before + text[:end], self._passages, len(before))
        self.changed = self.changed or kept != text[:end]
        return kept


def cite(question: str, answer: str, passages: Sequence[Passage]) -> Cited:
    """Check the markers `[n]` of an answer from these passages and quote each passage.

    The quote is the sentence (or two neighbours) closest to what the marker is first put behind, else to the question;
    `hit.text` holds it, and the source's offsets are those of the document's parsed text. Without passages there is
    nothing to point to: the answer stays as it is.
    """
    if not passages:
        return Cited(answer, ())
    text = _checked(answer, len(passages))
    claims = _claims(text)
    sources = [_source(number, passage, claims, question) for number, passage in enumerate(passages, start=1)]
    flags = (DROPPED_MARKER,) if text != answer else ()
    return Cited(text, tuple(sources), flags)


def unquoted(passages: Sequence[Passage]) -> list[Source]:
    """The sources before there is an answer to quote them for: whole passages, none cited yet."""
    return [_source_of(number, passage, (0, len(passage.hit.text))) for number, passage in enumerate(passages, start=1)]


def without_markers(text: str) -> str:
    """Text of a document with its own `[1]` taken out, so that it cannot pass for a citation of ours."""
    return MARKER.sub("", text)


def _checked(text: str, passages: int, start: int = 0) -> str:
    """`text[start:]` without the markers that point nowhere."""
    kept: list[str] = []
    for found in MARKER.finditer(text, start) if passages else ():
        kept += [text[start : found.start()], _kept(found, passages)]
        start = found.end()
    return "".join([*kept, text[start:]])


def _kept(found: re.Match[str], passages: int) -> str:
    """The marker with the numbers that point to a passage; nothing when none does, or empty brackets where what is
    around it would become a marker then.
    """
    numbers = [number.strip() for number in found[1].split(",")]
    real = [number for number in numbers if 1 <= int(number) <= passages]
    if real == numbers:
        return found[0]
    if real:
        return f"{found[0][: found[0].index('[')]}[{', '.join(real)}]"
    return "[]" if OPENED.search(found.string[max(found.start() - NESTING, 0) : found.start()]) else ""


def _claims(answer: str) -> dict[int, set[str]]:
    """Number of a marker -> terms of the first sentence it stands behind.

    All of its sentences together would quote the least of them (measured on XQuAD's questions: the quote of the first
    holds the answer 81 times in a hundred, that of all together 74 times).
    """
    claims: dict[int, set[str]] = {}
    end, claim = 0, set[str]()
    for found in MARKER.finditer(answer):
        claim = _last_sentence(answer[end : found.start()]) or claim  # `[1][2]` share their sentence
        for number in found[1].split(","):
            claims.setdefault(int(number), claim)
        end = found.end()
    return claims


def _last_sentence(text: str) -> set[str]:
    found = [set(terms(text[start:end])) for start, end in sentences(text)]
    return next((words for words in reversed(found) if words), set())


def _source(number: int, passage: Passage, claims: Mapping[int, set[str]], question: str) -> Source:
    place = _quote(passage.hit.text, claims.get(number, set()), set(terms(question)))
    return _source_of(number, passage, place, cited=number in claims)


def _source_of(number: int, passage: Passage, place: tuple[int, int], *, cited: bool = False) -> Source:
    hit, (start, end) = passage.hit, place
    return Source(
        index=number,
        document_id=hit.document_id,
        version=hit.version,
        chunk_id=hit.chunk_id,
        filename=passage.filename,
        title=passage.title,
        page=hit.page,
        start=hit.start + start,
        end=hit.start + end,
        score=hit.score,
        quote=hit.text[start:end],
        cited=cited,
    )


def _quote(text: str, claim: set[str], question: set[str]) -> tuple[int, int]:
    """Offsets of the sentences closest to the claim; without a common word, as in another language, to the question."""
    places = list(sentences(text)) or [(0, len(text))]
    words = [set(terms(text[start:end])) for start, end in places]
    whole = [at for at, (start, end) in enumerate(places) if not is_fragment(text[start:end])] or [0]
    for wanted in (claim, question):
        best = max(whole, key=lambda at: len(words[at] & wanted))
        if words[best] & wanted:
            first, last = _with_neighbour(best, words, wanted)
            return places[first][0], places[last][1]
    return places[whole[0]]


def _with_neighbour(best: int, words: Sequence[set[str]], wanted: set[str]) -> tuple[int, int]:
    """First and last of the sentences to quote: the neighbour comes along when it says enough of what is missing."""
    missing = wanted - words[best]
    beside = [at for at in (best - 1, best + 1) if 0 <= at < len(words)]
    near = max(beside, key=lambda at: len(words[at] & missing), default=best)
    if len(words[near] & missing) < WORTHWHILE:
        return best, best
    return min(best, near), max(best, near)
