"""Words of retrieval: what is indexed, what is asked, what is found, and when it counts as an answer."""

import json
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from domain.analysis import HANGUL, terms
from domain.characters import normalized

Vector: TypeAlias = npt.NDArray[np.float32]  # [dimensions], unit length
Vectors: TypeAlias = npt.NDArray[np.float32]  # [texts, dimensions], unit rows

ENGLISH_ALPHA, KOREAN_ALPHA = 0.5, 0.3  # weight of the vector leg, best on our English and Korean sets


class Mode(StrEnum):
    HYBRID = "hybrid"
    KEYWORD = "keyword"
    VECTOR = "vector"


@dataclass(frozen=True, slots=True)
class IndexedChunk:
    """One object of the search index. `text` is exactly the stored span; `terms` also hold title and headings."""

    chunk_id: str
    document_id: str
    version: int
    collection_id: str
    ordinal: int
    text: str
    terms: str
    start: int
    end: int
    page: int | None
    meta: tuple[str, ...]
    vector: Vector


@dataclass(frozen=True, slots=True)
class Scope:
    """Where to look: decided before anything is searched, never widened afterwards."""

    generation: str
    collection_id: str
    document_ids: tuple[str, ...] = ()  # empty: the whole collection
    excluded: tuple[str, ...] = ()  # version keys that are in the index but not live
    meta: tuple[tuple[str, ...], ...] = ()  # every group must match, by any of its `key=value`


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found. `score` orders hits of one query; `cosine` and `coverage` compare across queries."""

    chunk_id: str
    document_id: str
    version: int
    ordinal: int
    text: str
    start: int
    end: int
    page: int | None
    score: float
    cosine: float | None = None
    coverage: float = 0.0


@dataclass(frozen=True, slots=True)
class Passage:
    """A hit with the name of its document: what an answer may quote."""

    hit: Hit
    filename: str
    title: str


@dataclass(frozen=True, slots=True)
class Source:
    """A passage as the caller sees it: `quote` equals `text[start:end]` of the document's parsed text."""

    index: int
    document_id: str
    version: int
    chunk_id: str
    filename: str
    title: str
    page: int | None
    start: int
    end: int
    score: float
    quote: str
    cited: bool


@dataclass(frozen=True, slots=True)
class Relevance:
    """When a chunk counts as evidence for a question: (cosine - floor) / span + coverage / 2 >= threshold.

    The constants belong to one embedding model and were measured on XQuAD questions with and without their
    article (95 % of the answerable kept, 94 % of the others refused).
    """

    floor: float
    span: float
    threshold: float
    korean_threshold: float

    def evidence(self, hit: Hit) -> float:
        return self.evidence_of(hit.cosine or 0.0, hit.coverage)

    def evidence_of(self, cosine: float, coverage: float) -> float:
        return (cosine - self.floor) / self.span + coverage / 2

    def answerable(self, question: str, hits: Sequence[Hit]) -> bool:
        bar = self.korean_threshold if is_korean(question) else self.threshold
        return any(self.evidence(hit) >= bar for hit in hits[:5])


@dataclass(frozen=True, slots=True)
class Generation:
    """What the vectors and terms of an index have in common; mixtures are refused."""

    name: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors and the tokens they took; whether those were bought is the embedder's `billable`.

    `estimated`: the provider said nothing of the tokens, or what cannot be.
    """

    vectors: Vectors
    tokens: int = 0
    model: str = ""
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    text: str
    vector: Vector | None
    k: int
    mode: Mode = Mode.HYBRID
    scope: Scope = field(kw_only=True)

    @property
    def alpha(self) -> float:
        if self.mode is Mode.HYBRID:
            return KOREAN_ALPHA if is_korean(self.text) else ENGLISH_ALPHA
        return 1.0 if self.mode is Mode.VECTOR else 0.0


def is_korean(text: str) -> bool:
    """A third or more of the letters are Hangul."""
    letters = [character for character in normalized("NFKC", text) if character.isalpha()]
    return 3 * len([letter for letter in letters if HANGUL.match(letter)]) >= len(letters) > 0


def coverage(query: str, text: str) -> float:
    """Share of the query's distinct terms that the text holds, 0 to 1."""
    return share(set(terms(query)), set(terms(text)))


def share(wanted: Set[str], held: Set[str]) -> float:
    """The same for terms that are at hand already."""
    return len(wanted & held) / len(wanted) if wanted else 0.0


def meta_term(key: str, value: str | float | bool) -> str:
    """`key=value` as it stands in the index; JSON keeps 1, "1" and true apart."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"
