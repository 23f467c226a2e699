"""Conversations and turns: a question, how it was answered, and from what."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from domain.runs import State
from domain.search import Passage, Source, is_korean

WINDOW = 10  # messages of the conversation that the next question still sees


class Speaker(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"


class Finish(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    NOT_FOUND = "not_found"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Ask:
    """A question as it was asked, validated. `question_tokens` is an upper bound; `billable`: a provider answers."""

    message: str
    conversation_id: str | None
    model: str | None
    temperature: float
    max_tokens: int
    use_rag: bool
    collection: str
    document_ids: tuple[str, ...]
    filters: dict[str, list[str]]  # key -> accepted values, already in the index's `key=value` form
    k: int
    question_tokens: int
    billable: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One message of a conversation."""

    speaker: Speaker
    text: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn's row as its nodes see it."""

    tenant_id: str
    account_id: str
    conversation_id: str
    seq: int
    workflow_id: str
    asked_at: datetime
    question: str
    model: str | None
    temperature: float
    max_tokens: int
    use_rag: bool
    collection_id: str | None
    document_ids: tuple[str, ...]
    filters: dict[str, list[str]]
    k: int
    query: str | None = None  # what was searched with; None before `condense`, or when it was the question itself
    passages: tuple[Passage, ...] = ()
    relevant: bool = False
    outcome: State | None = None
    error_code: str | None = None
    answer: str | None = None
    answered_at: datetime | None = None
    finish: Finish | None = None
    model_used: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False
    sources: tuple[Source, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)  # milliseconds per stage
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What `answer` commits to the row."""

    text: str
    finish: Finish
    model: str
    prompt_tokens: int
    completion_tokens: int
    estimated: bool
    answer_tokens: int  # upper bound of what the text costs in the next turn's window
    sources: tuple[Source, ...]
    prompt_digest: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that an answerer may use. Passages are numbered from 1 in the order given."""

    question: str
    passages: tuple[Passage, ...]
    history: tuple[Line, ...]
    use_rag: bool
    model: str | None
    temperature: float
    max_tokens: int
    query: str = ""  # the question as it stands alone; what quotes are ranked by


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of a reply: the whole text and what it cost. `estimated`: the provider did not say."""

    text: str
    model: str
    finish: Finish
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False
    billable: bool = False
    prompt_digest: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    conversation_id: str
    title: str
    turns: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Utterance:
    """One message of a conversation's history."""

    speaker: Speaker
    text: str
    at: datetime
    workflow_id: str


def not_found(question: str) -> str:
    """The honest answer when no passage is evidence for the question, in the question's language."""
    if is_korean(question):
        return "문서에서 이 질문에 대한 답을 찾지 못했습니다."
    return "Your documents do not contain an answer to this question."
