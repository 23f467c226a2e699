"""Find passages: embed the question, search the index, let the registry decide what is live.

The search route shows what was found; the chat graph's `retrieve` looks further and chooses what an answer stands on.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from activities.meter import Asked, Meter
from activities.timings import milliseconds
from domain.accounts import Principal
from domain.errors import DimensionMismatch
from domain.names import version_key
from domain.passages import chosen, crowded
from domain.ports import DocumentRecords, Embedder, VectorStore
from domain.search import Hit, Mode, Passage, Query, Scope, Vector
from domain.usage import Purpose

MOST_EXCLUDED = 200  # beyond this many the filter costs more than filtering afterwards (measured: 22 against 8 ms)
MOST_FETCHED = 400  # when filtering afterwards
SLOW = 1.0  # seconds of a search; a step has no time for another one of that kind
CANDIDATES = 20  # at least so many to choose an answer's passages from


@dataclass(frozen=True, slots=True)
class Find:
    """What to look for, and where. `filters`: key=value strings, one of each group must be in the metadata."""

    text: str
    collection_id: str
    k: int
    mode: Mode = Mode.HYBRID
    document_ids: Sequence[str] = ()
    filters: Sequence[Sequence[str]] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What was found, best first, and what is shown of it. `timings` in milliseconds: embed, search, total.

    `candidates` are hits as the index gave them; `passages` are some of them, for an answer merged with what stands
    beside them.
    """

    candidates: tuple[Passage, ...]
    passages: tuple[Passage, ...]
    relevant: bool
    timings: Mapping[str, float] = field(default_factory=dict)


Search = Callable[[Principal, Find, Vector | None], Awaitable[tuple[Passage, ...]]]


class Retriever:
    def __init__(self, documents: DocumentRecords, store: VectorStore, embedder: Embedder, meter: Meter) -> None:
        self._documents = documents
        self._store = store
        self._embedder = embedder
        self._meter = meter

    async def find(self, principal: Principal, find: Find, *, op_id: str, workflow_id: str | None = None) -> Found:
        """The k best hits as they are. Raises DimensionMismatch when the collection has another embedding model."""
        found, timings = await self._find(principal, find, self._search, op_id, workflow_id)
        return Found(found, found, self._relevant(find.text, found), timings)

    async def choose(self, principal: Principal, find: Find, *, op_id: str, workflow_id: str | None = None) -> Found:
        """k chunks for an answer, out of more candidates: no text twice, few of a document. Raises like `find`."""
        candidates, timings = await self._find(principal, find, self._spread, op_id, workflow_id)
        passages = chosen(candidates, find.k)
        return Found(candidates, passages, self._relevant(find.text, passages), timings)

    async def _find(
        self, principal: Principal, find: Find, search: Search, op_id: str, workflow_id: str | None
    ) -> tuple[tuple[Passage, ...], dict[str, float]]:
        """(hits, best first; timings in milliseconds)"""
        began = time.perf_counter()
        generation = await self._documents.generation(principal, find.collection_id)
        if generation not in ("", self._embedder.generation.name):
            raise DimensionMismatch
        vector = await self._embed(principal, find, op_id, workflow_id)
        embedded = time.perf_counter()
        passages = await search(principal, find, vector)
        ended = time.perf_counter()
        timings = {
            "embed": milliseconds(embedded - began),
            "search": milliseconds(ended - embedded),
            "total": milliseconds(ended - began),
        }
        return passages, timings

    async def _spread(self, principal: Principal, find: Find, vector: Vector | None) -> tuple[Passage, ...]:
        """More than k; where a document crowds others out, also what is found without it, ranked behind."""
        wide, began = replace(find, k=max(CANDIDATES, 2 * find.k)), time.perf_counter()
        best = await self._search(principal, wide, vector)
        if len(best) < wide.k or len(find.document_ids) == 1 or not crowded(best, find.k):
            return best
        if time.perf_counter() - began > SLOW:  # better a crowded answer than none
            return best
        known = {version_key(passage.hit.document_id, passage.hit.version) for passage in best}
        others = await self._search(principal, find, vector, known)
        return (*best, *(_behind(best[-1], other) for other in others))

    async def _embed(self, principal: Principal, find: Find, op_id: str, workflow_id: str | None) -> Vector | None:
        if find.mode is Mode.KEYWORD:
            return None
        asked = Asked(
            op_id=op_id,
            workflow_id=workflow_id,
            purpose=Purpose.EMBEDDING,
            model=self._embedder.model,
            sent=[find.text],
            billable=self._embedder.billable,
        )
        async with self._meter.call(principal, asked) as call:
            embedded = await self._embedder.query(find.text)
            line = call.answered(embedded.model, embedded.tokens, estimated=embedded.estimated)
            if self._embedder.billable:
                await self._meter.record(principal, line)
        vector: Vector = embedded.vectors[0]
        return vector

    async def _search(
        self, principal: Principal, find: Find, vector: Vector | None, without: Set[str] = frozenset()
    ) -> tuple[Passage, ...]:
        """The index is asked without the versions known not to be live; the registry has the last word."""
        staged = await self._documents.staged(principal, find.collection_id, MOST_EXCLUDED + 1)
        excluded = (*(staged if len(staged) <= MOST_EXCLUDED else ()), *sorted(without))
        fetch = find.k if len(staged) <= MOST_EXCLUDED else min(max(4 * find.k, 100), MOST_FETCHED)
        while True:
            hits = await self._store.search(principal, self._query(find, vector, fetch, excluded))
            passages = await self._live(principal, hits)
            if len(passages) >= find.k or len(hits) < fetch or fetch >= MOST_FETCHED:
                return passages[: find.k]
            fetch = min(4 * fetch, MOST_FETCHED)

    def _query(self, find: Find, vector: Vector | None, k: int, excluded: tuple[str, ...]) -> Query:
        scope = Scope(
            generation=self._embedder.generation.name,
            collection_id=find.collection_id,
            document_ids=tuple(find.document_ids),
            excluded=excluded,
            meta=tuple(tuple(group) for group in find.filters),
        )
        return Query(text=find.text, vector=vector, k=k, mode=find.mode, scope=scope)

    async def _live(self, principal: Principal, hits: Sequence[Hit]) -> tuple[Passage, ...]:
        live = await self._documents.live(principal, sorted({hit.document_id for hit in hits}))
        return tuple(
            Passage(hit, live[hit.document_id].filename, live[hit.document_id].title)
            for hit in hits
            if hit.document_id in live and live[hit.document_id].version == hit.version
        )

    def _relevant(self, question: str, passages: Sequence[Passage]) -> bool:
        relevance, hits = self._embedder.relevance, [passage.hit for passage in passages]
        return bool(hits) if relevance is None else relevance.answerable(question, hits)


def _behind(last: Passage, other: Passage) -> Passage:
    """Scores of two searches do not compare: what only the second one found ranks behind."""
    return replace(other, hit=replace(other.hit, score=min(other.hit.score, last.hit.score)))
