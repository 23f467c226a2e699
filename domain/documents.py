"""Documents, their versions and what a parser finds in them."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from domain.runs import State

MetadataValue = str | int | float | bool


class MediaType(StrEnum):
    PDF = "application/pdf"
    TEXT = "text/plain"
    MARKDOWN = "text/markdown"


SUFFIXES = {
    ".pdf": MediaType.PDF,
    ".txt": MediaType.TEXT,
    ".text": MediaType.TEXT,
    ".md": MediaType.MARKDOWN,
    ".markdown": MediaType.MARKDOWN,
}


class OnDuplicate(StrEnum):
    SKIP = "skip"
    REJECT = "reject"
    NEW = "new"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that already lies in the blob store, not yet admitted."""

    document_id: str
    collection: str
    filename: str
    title: str
    media_type: MediaType
    size: int
    sha256: str
    metadata: dict[str, MetadataValue]
    on_duplicate: OnDuplicate


@dataclass(frozen=True, slots=True)
class Collection:
    collection_id: str
    name: str
    description: str
    generation: str
    documents: int
    chunks: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a document: what its ingestion reads and writes."""

    document_id: str
    version: int
    collection_id: str
    generation: str
    filename: str
    title: str
    media_type: MediaType
    metadata: dict[str, MetadataValue]
    outcome: str | None = None  # ready, failed, cancelled; None while its run is open


@dataclass(frozen=True, slots=True)
class Pending:
    """A version that is not live (yet)."""

    version: int
    state: State
    workflow_id: str


@dataclass(frozen=True, slots=True)
class Document:
    """What a caller sees of a document; `version` is the live one, None before the first is ready."""

    document_id: str
    collection: str
    filename: str
    title: str
    media_type: MediaType
    size: int
    sha256: str
    version: int | None
    pending: Pending | None
    chunks: int
    pages: int | None
    metadata: dict[str, MetadataValue]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Live:
    """The live version of a document and how to name it beside a quote."""

    version: int
    filename: str
    title: str


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of the parsed text on one page under one heading path; offsets are code points."""

    start: int
    end: int
    page: int | None = None
    heading: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parsed:
    """NFC text and its blocks, in order, without gaps that hold text."""

    text: str
    blocks: tuple[Block, ...]
    pages: int | None = None
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Span:
    """A chunk's place: `text[start:end]` of the parsed text, whole sentences."""

    ordinal: int
    start: int
    end: int
    page: int | None
    heading: tuple[str, ...]
