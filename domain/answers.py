"""The record of an answer: what it was made from, how it was liked, and what becomes of it when it is made again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import unified_diff
from enum import StrEnum
from itertools import islice

from domain.chat import Ask, AsOf, Turn
from domain.errors import Conflict, NoModel
from domain.models import Models
from domain.runs import State
from domain.search import Hit, Passage, Source
from domain.sentences import sentences
from domain.usage import BILLED, ProviderCall

MOST_CANDIDATES = 100  # that a row keeps
MOST_PIECES = 500  # of a text that is compared: beyond, the rest is one piece, as comparing takes the square of them


class Rating(StrEnum):
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Feedback:
    rating: Rating
    comment: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that the search found, counted from 1, best first. `chosen`: its words are in a passage."""

    chunk_id: str
    document_id: str
    version: int
    ordinal: int
    start: int
    end: int
    page: int | None
    score: float
    cosine: float | None
    coverage: float
    rank: int
    chosen: bool


def candidates(hits: Iterable[Hit], passages: Sequence[Passage]) -> list[Candidate]:
    """At most the hundred best."""
    return [
        Candidate(
            chunk_id=hit.chunk_id,
            document_id=hit.document_id,
            version=hit.version,
            ordinal=hit.ordinal,
            start=hit.start,
            end=hit.end,
            page=hit.page,
            score=hit.score,
            cosine=hit.cosine,
            coverage=hit.coverage,
            rank=rank,
            chosen=any(holds(passage.hit, hit) for passage in passages),
        )
        for rank, hit in enumerate(islice(hits, MOST_CANDIDATES), start=1)
    ]


def holds(passage: Hit, chunk: Hit | Candidate) -> bool:
    """A passage may be longer than the chunk that was found, and hold others."""
    same = (passage.document_id, passage.version) == (chunk.document_id, chunk.version)
    return same and passage.start <= chunk.start and chunk.end <= passage.end


@dataclass(frozen=True, slots=True)
class Rerun:
    """An answer that is to be made again; `model` None: the one that was asked then. `models` can be asked now."""

    workflow_id: str
    as_of: AsOf
    model: str | None
    models: Models
    talks: bool
    billable: bool

    def ask(self, turn: Turn, question_tokens: int) -> Ask:
        """The same question again. Raises Conflict where there is nothing to make it from, UnknownModel, NoModel."""
        if turn.outcome is None:
            raise Conflict("The answer is still being made; wait until its run has ended.")
        if self.as_of is AsOf.THEN and turn.answer is None:
            raise Conflict("This turn ended without an answer; rerun it as of now.")
        if self.as_of is AsOf.NOW and turn.use_rag and turn.collection_id is None:
            raise Conflict("The collection that was searched is gone; rerun the answer as of then.")
        model = self.model or turn.model
        self.models.named(model)
        if not turn.use_rag and not self.talks:
            raise NoModel
        return Ask(
            message=turn.question,
            conversation_id=None,
            model=model,
            temperature=turn.temperature,
            max_tokens=turn.max_tokens,
            use_rag=turn.use_rag,
            collection="",  # the row names it by its id, whatever it is called now
            document_ids=turn.document_ids,
            filters=turn.filters,
            k=turn.k,
            question_tokens=question_tokens,
            billable=self.billable,
        )


@dataclass(frozen=True, slots=True)
class Rerunning:
    """A rerun as the record of its original lists it."""

    workflow_id: str
    as_of: AsOf
    model: str | None
    model_used: str | None
    outcome: State | None
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class Earlier:
    """The turn that a rerun is compared with, and what that one cost."""

    turn: Turn
    cost: int | None


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """All that is known of an answer. `gone`: versions among its passages that are not live any more.

    `earlier` is None of what is no rerun, and where the original was deleted.
    """

    turn: Turn
    collection: str | None
    candidates: tuple[Candidate, ...]
    prompt_digest: str
    prompts: dict[str, str]
    calls: tuple[ProviderCall, ...]
    gone: frozenset[tuple[str, int]]
    feedback: Feedback | None
    reruns: tuple[Rerunning, ...]
    earlier: Earlier | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """Between two answers: lines of a unified diff, a sentence each, and their sources."""

    answer: tuple[str, ...]
    added: tuple[Source, ...]
    removed: tuple[Source, ...]
    kept: tuple[Source, ...]


def difference(before: Turn, after: Turn) -> Difference | None:
    """None while one of them has no answer."""
    if before.answer is None or after.answer is None:
        return None
    lines = unified_diff(_pieces(before.answer), _pieces(after.answer), "before", "after", lineterm="")
    known, present = ({_chunk(source) for source in turn.sources} for turn in (before, after))
    return Difference(
        answer=tuple(lines),
        added=tuple(source for source in after.sources if _chunk(source) not in known),
        removed=tuple(source for source in before.sources if _chunk(source) not in present),
        kept=tuple(source for source in after.sources if _chunk(source) in known),
    )


def cost_of(calls: Iterable[ProviderCall]) -> int | None:
    """Billionths, of the calls that count; None when none of them has a price."""
    priced = [call.cost for call in calls if call.delivery in BILLED and call.cost is not None]
    return sum(priced) if priced else None


def _pieces(text: str) -> list[str]:
    pieces = [text[start:end] for start, end in sentences(text)]
    rest = pieces[MOST_PIECES - 1 :]
    return pieces if len(rest) < 2 else [*pieces[: MOST_PIECES - 1], " ".join(rest)]


def _chunk(source: Source) -> tuple[str, int, str]:
    return source.document_id, source.version, source.chunk_id
