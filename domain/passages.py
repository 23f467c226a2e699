"""Which chunks an answer stands on, and what stands beside them: one passage per stretch of text.

1. Of the candidates of a search the best are chosen: no text twice, few of a document.
2. Neighbours of the same section and page come along as long as there is room.
3. Chunks that follow each other become one passage, letter by letter the document's text from its start to its end.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from domain.analysis import words
from domain.chunking import MAX_TOKENS
from domain.documents import Span
from domain.search import Passage
from domain.usage import cautious

PER_DOCUMENT = 3  # chunks: a document stuffed with words for every question leaves room for others


@dataclass(frozen=True, slots=True)
class Layout:
    """The chunks of a document's live version, in order, and the text of those that matter.

    `texts`: by ordinal, the document's text from the start of a chunk to the start of the next.
    """

    spans: Sequence[Span]
    texts: Mapping[int, str]

    def text(self, first: int, last: int) -> str:
        """The document's text from the start of one chunk to the end of another."""
        whole = "".join(self.texts[ordinal] for ordinal in range(first, last + 1))
        return whole[: self.spans[last].end - self.spans[first].start]


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk that may be shown to the answerer: `found` itself, or a neighbour of it."""

    found: Passage
    ordinal: int
    text: str

    @property
    def document_id(self) -> str:
        return self.found.hit.document_id


class Context:
    """What is shown, best first, up to a number of tokens and a share of each document; no text twice."""

    def __init__(self, room: int, share: int | None) -> None:
        self.pieces: list[Piece] = []
        self._room = room
        self._share = share
        self._words: set[str] = set()

    def fill(self, pieces: Sequence[Piece], tokens: Sequence[int]) -> None:
        """Those that fit, in their order; the very first one in any case."""
        for piece, cost in zip(pieces, tokens, strict=True):
            if self.pieces and (cost > self._room or self._is_full(piece) or words(piece.text) in self._words):
                continue
            self.pieces.append(piece)
            self._words.add(words(piece.text))
            self._room -= cost

    def _is_full(self, piece: Piece) -> bool:
        held = [one for one in self.pieces if one.document_id == piece.document_id]
        return self._share is not None and len(held) >= self._share


def share(candidates: Sequence[Passage]) -> int | None:
    """Chunks that a document may have in an answer; None where all candidates are of one document."""
    return None if len({passage.hit.document_id for passage in candidates}) == 1 else PER_DOCUMENT


def chosen(candidates: Sequence[Passage], k: int) -> tuple[Passage, ...]:
    """The k best in their order: no text twice, no more of a document than its share."""
    most, counts, best = share(candidates), Counter[str](), list[Passage]()
    for passage in _distinct(candidates):
        counts[passage.hit.document_id] += 1
        if most is None or counts[passage.hit.document_id] <= most:
            best.append(passage)
    return tuple(best[:k])


def crowded(candidates: Sequence[Passage], k: int) -> bool:
    """Their shares come to less than k: others may be waiting behind."""
    counts = Counter(passage.hit.document_id for passage in _distinct(candidates))
    return sum(min(count, PER_DOCUMENT) for count in counts.values()) < k


def room(k: int, most: int) -> int:
    """Tokens for passages, counted cautiously; never more than k whole chunks, which is what a turn reserves."""
    return min(most, k * cautious(MAX_TOKENS))


def pieces(passages: Sequence[Passage]) -> list[Piece]:
    """What was found, as it was found."""
    return [Piece(passage, passage.hit.ordinal, passage.hit.text) for passage in passages]


def around(ordinals: Set[int], spans: Sequence[Span]) -> dict[int, tuple[int, int]]:
    """These chunks and those beside them: where each starts, and where the next one does."""
    near = {ordinal + step for ordinal in ordinals for step in (-1, 0, 1)}
    ends = [*(span.start for span in spans[1:]), *(span.end for span in spans[-1:])]
    return {ordinal: (spans[ordinal].start, ends[ordinal]) for ordinal in sorted(near) if 0 <= ordinal < len(spans)}


def beside(taken: Sequence[Piece], layouts: Mapping[str, Layout]) -> list[Piece]:
    """Neighbours that can be joined to a piece, those of the best first. `layouts`: by document id."""
    known = {(piece.document_id, piece.ordinal) for piece in taken}
    neighbours: list[Piece] = []
    for piece in taken:
        for span in _beside(piece, layouts):
            if (piece.document_id, span.ordinal) not in known:
                known.add((piece.document_id, span.ordinal))
                text = layouts[piece.document_id].text(span.ordinal, span.ordinal)
                neighbours.append(Piece(piece.found, span.ordinal, text))
    return neighbours


def merged(taken: Sequence[Piece], layouts: Mapping[str, Layout]) -> tuple[Passage, ...]:
    """One passage per run of chunks that can be joined, best first; it has id, score and evidence of its best chunk.

    A document without a layout keeps its chunks as they were found.
    """
    runs: list[list[tuple[int, Piece]]] = []
    for rank, piece in sorted(enumerate(taken), key=lambda one: (one[1].document_id, one[1].ordinal)):
        if runs and _joins(runs[-1][-1][1], piece, layouts):
            runs[-1].append((rank, piece))
        else:
            runs.append([(rank, piece)])
    runs.sort(key=lambda run: min(rank for rank, _ in run))
    return tuple(_passage(run, layouts) for run in runs)


def _passage(run: Sequence[tuple[int, Piece]], layouts: Mapping[str, Layout]) -> Passage:
    best = min(run, key=lambda one: one[0])[1].found
    if len(run) == 1:
        return best
    layout, first, last = layouts[best.hit.document_id], run[0][1].ordinal, run[-1][1].ordinal
    start, end = layout.spans[first].start, layout.spans[last].end
    return replace(best, hit=replace(best.hit, text=layout.text(first, last), start=start, end=end))


def _joins(one: Piece, other: Piece, layouts: Mapping[str, Layout]) -> bool:
    if one.document_id != other.document_id:
        return False
    return other.ordinal in [span.ordinal for span in _beside(one, layouts)]


def _beside(piece: Piece, layouts: Mapping[str, Layout]) -> Iterator[Span]:
    """What follows, then what precedes: of the same section, and of the same page because a citation names one."""
    spans = layouts[piece.document_id].spans if piece.document_id in layouts else ()
    for ordinal in (piece.ordinal + 1, piece.ordinal - 1):
        if 0 <= ordinal < len(spans) and piece.ordinal < len(spans):
            here, there = spans[piece.ordinal], spans[ordinal]
            if (here.page, here.heading) == (there.page, there.heading):
                yield there


def _distinct(candidates: Sequence[Passage]) -> list[Passage]:
    first: dict[str, Passage] = {}
    for passage in candidates:
        first.setdefault(words(passage.hit.text), passage)
    return list(first.values())
