"""In-memory twins of the two slow ports: same promises, no server and no model. They do not rank identically."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from domain.accounts import Principal
from domain.analysis import VERSION, terms
from domain.errors import DimensionMismatch
from domain.names import version_key
from domain.reconcile import StoredChunk
from domain.search import Embedded, Generation, Hit, IndexedChunk, Mode, Query, Relevance, Scope, Vector, share

K1, B = 1.2, 0.75
TOKEN = re.compile(r"\w{1,8}|[^\w\s]")

Scores = dict[str, float]  # by chunk id


class MemoryVectorStore:
    """Everything by class and tenant; BM25 and cosine, fused by relative score."""

    def __init__(self) -> None:
        self._chunks: dict[tuple[str, str], dict[str, IndexedChunk]] = {}
        self._written: dict[str, datetime] = {}  # by chunk id

    async def ping(self) -> None: ...

    async def prepare(self, generation: Generation) -> None: ...

    async def insert(self, principal: Principal, generation: Generation, chunks: Sequence[IndexedChunk]) -> None:
        """Raises DimensionMismatch before anything is written."""
        if any(len(chunk.vector) != generation.dimensions for chunk in chunks):
            raise DimensionMismatch
        kept = self._chunks.setdefault((generation.name, principal.tenant), {})
        kept.update({chunk.chunk_id: chunk for chunk in chunks})
        self._written.update(dict.fromkeys((chunk.chunk_id for chunk in chunks), datetime.now(UTC)))

    async def count(self, principal: Principal, generation: Generation, version_key: str) -> int:
        kept = self._chunks.get((generation.name, principal.tenant), {})
        return sum(_version(chunk) == version_key for chunk in kept.values())

    async def delete(self, principal: Principal, generation: Generation, version_key: str) -> None:
        kept = self._chunks.get((generation.name, principal.tenant), {})
        for chunk in [chunk for chunk in kept.values() if _version(chunk) == version_key]:
            del kept[chunk.chunk_id]

    async def walk(
        self, principal: Principal, generation: Generation, after: str | None, limit: int
    ) -> list[StoredChunk]:
        kept = self._chunks.get((generation.name, principal.tenant), {})
        page = sorted(chunk_id for chunk_id in kept if chunk_id > (after or ""))[:limit]
        return [StoredChunk(chunk_id, _version(kept[chunk_id]), self._written[chunk_id]) for chunk_id in page]

    async def total(self, principal: Principal) -> int:
        return sum(len(kept) for (_, tenant), kept in self._chunks.items() if tenant == principal.tenant)

    async def erase(self, principal: Principal) -> None:
        for key in [key for key in self._chunks if key[1] == principal.tenant]:
            del self._chunks[key]

    async def search(self, principal: Principal, query: Query) -> list[Hit]:
        """Raises DimensionMismatch when the tenant's vectors have another length than the query's."""
        kept = self._chunks.get((query.scope.generation, principal.tenant), {})
        wanted = frozenset(terms(query.text))
        keywords = {} if query.mode is Mode.VECTOR else _bm25(wanted, kept)
        cosines = _cosines(query.vector, kept)
        near = {} if query.mode is Mode.KEYWORD else cosines
        alpha = query.alpha if wanted else 1.0
        scores = _fused(keywords, near, 0.0 if query.vector is None else alpha)
        inside = [chunk_id for chunk_id in scores if _matches(kept[chunk_id], query.scope)]
        best = sorted(inside, key=lambda chunk_id: -scores[chunk_id])[: query.k]
        return [_hit(kept[chunk_id], scores[chunk_id], cosines.get(chunk_id), wanted) for chunk_id in best]


class StubEmbedder:
    """Embedder and Tokenizer without a model: texts that share terms are near each other, and it costs no time."""

    def __init__(self, *, dimensions: int = 384, relevance: Relevance | None = None, billable: bool = False) -> None:
        self._generation = Generation(f"stub-{dimensions}-a{VERSION}", dimensions)
        self._relevance = relevance
        self._billable = billable

    @property
    def model(self) -> str:
        return "stub"

    @property
    def generation(self) -> Generation:
        return self._generation

    @property
    def relevance(self) -> Relevance | None:
        return self._relevance

    @property
    def billable(self) -> bool:
        return self._billable

    async def query(self, text: str) -> Embedded:
        return await self.passages([text])

    async def passages(self, texts: Sequence[str]) -> Embedded:
        vectors = np.stack([self._vector(text) for text in texts]) if texts else np.zeros((0, self._size), np.float32)
        return Embedded(vectors, tokens=sum(await self.counts(texts)), model=self.model)

    async def counts(self, texts: Sequence[str]) -> list[int]:
        return [len(TOKEN.findall(text)) for text in texts]

    async def cuts(self, text: str, limit: int) -> list[int]:
        return [token.start() for token in TOKEN.finditer(text)][limit::limit]

    @property
    def _size(self) -> int:
        return self._generation.dimensions

    def _vector(self, text: str) -> Vector:
        total = sum((_direction(term, self._size) for term in terms(text) or [""]), np.zeros(self._size, np.float32))
        unit: Vector = total / np.linalg.norm(total)
        return unit


@lru_cache(maxsize=10_000)
def _direction(term: str, dimensions: int) -> Vector:
    """The same in every process; two terms are close to orthogonal."""
    seed = int.from_bytes(blake2b(term.encode(), digest_size=8).digest())
    return np.random.default_rng(seed).standard_normal(dimensions).astype(np.float32)


def _bm25(wanted: Set[str], kept: Mapping[str, IndexedChunk]) -> Scores:
    """Of the chunks that hold one of the terms."""
    bags = {chunk_id: Counter(chunk.terms.split()) for chunk_id, chunk in kept.items()}
    mean = sum(bag.total() for bag in bags.values()) / max(len(bags), 1)
    scores: Scores = {}
    for term in wanted:
        holding = {chunk_id: bag for chunk_id, bag in bags.items() if term in bag}
        rarity = math.log(1 + (len(bags) - len(holding) + 0.5) / (len(holding) + 0.5))
        for chunk_id, bag in holding.items():
            weight = bag[term] * (K1 + 1) / (bag[term] + K1 * (1 - B + B * bag.total() / mean))
            scores[chunk_id] = scores.get(chunk_id, 0.0) + rarity * weight
    return scores


def _cosines(vector: Vector | None, kept: Mapping[str, IndexedChunk]) -> Scores:
    if vector is None or not kept:
        return {}
    if any(len(chunk.vector) != len(vector) for chunk in kept.values()):
        raise DimensionMismatch
    products = np.stack([chunk.vector for chunk in kept.values()]) @ vector
    return dict(zip(kept, products.tolist(), strict=True))


def _fused(keywords: Scores, near: Scores, alpha: float) -> Scores:
    """Each leg from 0 to 1, missing is 0."""
    legs = [(weight, _relative(leg)) for weight, leg in ((1 - alpha, keywords), (alpha, near)) if weight > 0]
    found = dict.fromkeys(chunk_id for _, leg in legs for chunk_id in leg)
    return {chunk_id: sum(weight * leg.get(chunk_id, 0.0) for weight, leg in legs) for chunk_id in found}


def _relative(leg: Scores) -> Scores:
    if not leg:
        return {}
    low, high = min(leg.values()), max(leg.values())
    return {chunk_id: (score - low) / (high - low) if high > low else 1.0 for chunk_id, score in leg.items()}


def _matches(chunk: IndexedChunk, scope: Scope) -> bool:
    return all(_conditions(chunk, scope))


def _conditions(chunk: IndexedChunk, scope: Scope) -> Iterator[bool]:
    yield chunk.collection_id == scope.collection_id
    yield not scope.document_ids or chunk.document_id in scope.document_ids
    yield _version(chunk) not in scope.excluded
    yield from (not set(group).isdisjoint(chunk.meta) for group in scope.meta)


def _version(chunk: IndexedChunk) -> str:
    return version_key(chunk.document_id, chunk.version)


def _hit(chunk: IndexedChunk, score: float, cosine: float | None, wanted: Set[str]) -> Hit:
    return Hit(
        chunk_id=chunk.chunk_id,
        document_id=chunk.document_id,
        version=chunk.version,
        ordinal=chunk.ordinal,
        text=chunk.text,
        start=chunk.start,
        end=chunk.end,
        page=chunk.page,
        score=score,
        cosine=cosine,
        coverage=share(wanted, set(chunk.terms.split())),
    )
