"""Bodies of chat."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StrictBool, StrictInt

from api.schemas.body import CollectionName, Id, MetadataKey, MetadataValue, Request, Response
from domain.chat import Finish, Speaker


class AnyOf(Request):
    """`{"in": [...]}`: one of these values."""

    values: Annotated[list[MetadataValue], Field(min_length=1, max_length=100, alias="in")]


Filters = Annotated[dict[MetadataKey, AnyOf | MetadataValue], Field(max_length=16)]


class ChatRequest(Request):
    message: Annotated[str, Field(min_length=1, max_length=32_000)]
    conversation_id: Id | None = None
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    max_tokens: Annotated[StrictInt, Field(ge=1, le=4000)] = 1000
    use_rag: StrictBool = True
    collection: CollectionName = "default"
    context_docs: Annotated[list[Id], Field(max_length=100)] = []
    filters: Filters = {}
    k: Annotated[StrictInt, Field(ge=1, le=50)] = 5


class Message(Response):
    role: Speaker
    content: str
    timestamp: datetime


class TokenUsage(Response):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    estimated: bool


class Source(Response):
    """`start` and `end` are code point offsets into the document's text; `quote` is exactly what stands there."""

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


class ChatLinks(Response):
    run: str
    history: str
    temporal_ui: str | None


class ChatResponse(Response):
    workflow_id: str
    run_id: str | None
    conversation_id: str
    message: Message
    response: Message
    model_used: str | None
    tokens_used: int
    usage: TokenUsage
    response_time: float
    finish_reason: Finish
    sources: list[Source]
    links: ChatLinks


class Conversation(Response):
    conversation_id: str
    title: str
    turns: int
    created_at: datetime
    updated_at: datetime


class HistoryMessage(Message):
    workflow_id: str


class ExportedAnswer(HistoryMessage):
    model_used: str | None
    finish_reason: Finish | None
    sources: list[Source]


class History(Response):
    conversation_id: str
    messages: list[HistoryMessage]
