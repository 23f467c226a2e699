"""Bodies of answers looked back on: their records, what people thought of them, and making them again."""

from datetime import datetime
from typing import Annotated, Generic, TypeVar

from pydantic import Field

from api.schemas.body import Request, Response
from api.schemas.chat import Source, TokenUsage
from api.schemas.usage import UsageEvent
from domain.answers import Rating
from domain.chat import AsOf, Finish
from domain.runs import State

Item = TypeVar("Item")


class FeedbackRequest(Request):
    rating: Rating
    comment: Annotated[str, Field(max_length=2000)] | None = None


class RerunRequest(Request):
    """`model` null: the one that was asked for then."""

    as_of: AsOf
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class Scope(Response):
    """Where the question looked. `collection` is null without retrieval, and when it is gone."""

    use_rag: bool
    collection: str | None
    context_docs: list[str]
    filters: dict[str, list[str]]  # key to the `key=value` terms that satisfy it
    k: int


class Leg(Response):
    """One way of searching: what it thought of a chunk, and its rank among the candidates by that alone."""

    value: float
    rank: int


class Legs(Response):
    """`vector`: cosine to the query, null where the index does not say; `keyword`: share of the query's terms."""

    vector: Leg | None
    keyword: Leg


class Candidate(Response):
    """A chunk that was found. `chosen`: it is in a passage; `cited`: that passage is."""

    rank: int
    chunk_id: str
    document_id: str
    version: int
    ordinal: int
    page: int | None
    start: int
    end: int
    score: float
    legs: Legs
    chosen: bool
    cited: bool


class Passage(Response):
    """What was chosen to be answered from, numbered as in the answer. `gone`: its version is not live any more."""

    index: int
    chunk_id: str
    document_id: str
    version: int
    filename: str
    title: str
    page: int | None
    start: int
    end: int
    score: float
    text: str
    cited: bool
    gone: bool


class Prompt(Response):
    """SHA-256: of the messages as they were sent, and of each prompt file that was used, by its name."""

    digest: str | None
    files: dict[str, str]


class Model(Response):
    """`asked` is null when the default was."""

    asked: str | None
    used: str | None
    temperature: float
    max_tokens: int


class Feedback(Response):
    rating: Rating
    comment: str | None
    at: datetime


class SourcesChanged(Response):
    added: list[Source]
    removed: list[Source]
    kept: list[Source]


class Change(Response, Generic[Item]):
    before: Item
    after: Item


class Difference(Response):
    """From the original to the rerun; `answer` holds the lines of a unified diff, a sentence each."""

    answer: list[str]
    sources: SourcesChanged
    tokens: Change[int]
    cost: Change[float | None]
    model: Change[str | None]


class Rerun(Response):
    workflow_id: str
    as_of: AsOf
    model_asked: str | None
    model_used: str | None
    state: State | None
    asked_at: datetime


class AnswerLinks(Response):
    run: str
    conversation: str
    original: str | None


class Ended(Response):
    """Why there is no answer."""

    code: str
    title: str
    detail: str


class AnswerRecord(Response):
    """Everything an answer was made from. `state` is null while its run is open; `query` is what was searched with, the
    question or what condensing made of it, null without retrieval. What was found and is not `relevant` was handed to
    no model.
    """

    workflow_id: str
    conversation_id: str
    state: State | None
    error: Ended | None
    question: str
    query: str | None
    asked_at: datetime
    answer: str | None
    answered_at: datetime | None
    finish_reason: Finish | None
    relevant: bool
    scope: Scope
    candidates: list[Candidate]
    passages: list[Passage]
    sources: list[Source]
    prompt: Prompt
    model: Model
    usage: TokenUsage
    cost: float | None
    calls: list[UsageEvent]
    timings_ms: dict[str, float]
    flags: list[str]
    feedback: Feedback | None
    rerun_of: str | None
    as_of: AsOf | None
    difference: Difference | None
    reruns: list[Rerun]
    links: AnswerLinks
