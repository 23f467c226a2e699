"""Bodies of documents, collections and search."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, StrictInt

from api.schemas.body import CollectionName, Id, Request, Response
from api.schemas.chat import Filters, Source
from domain.search import Mode


class Pending(Response):
    version: int
    state: str
    run: str


class Document(Response):
    document_id: str
    collection: str
    filename: str
    title: str
    media_type: str
    bytes: int
    sha256: str
    version: int | None
    state: str
    pending: Pending | None = None
    chunks: int
    pages: int | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime


class Duplicate(Response):
    document_id: str
    duplicate: bool = True


class Collection(Response):
    collection_id: str
    name: str
    description: str
    documents: int
    chunks: int
    created_at: datetime
    updated_at: datetime


class SearchRequest(Request):
    query: Annotated[str, Field(min_length=1, max_length=4000)]
    collection: CollectionName = "default"
    k: Annotated[StrictInt, Field(ge=1, le=50)] = 5
    filters: Filters = {}
    document_ids: Annotated[list[Id], Field(max_length=100)] = []
    mode: Mode = Mode.HYBRID


class SearchResult(Source):
    text: str


class SearchResponse(Response):
    results: list[SearchResult]
    timings_ms: dict[str, float]
