"""Conversations and turns: a question, how it was answered, and from what."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from domain.runs import State
from domain.search import Passage, Source, is_korean


class Speaker(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"


class Finish(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    NOT_FOUND = "not_found"
    CANCELLED = "cancelled"


class AsOf(StrEnum):
    """What an answer that is made again is made from."""

    THEN = "then"  # the passages it was made from, whatever became of their documents
    NOW = "now"  # what the same query finds at present


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
class Place:
    """In a conversation: whoever asks there sees what had been said before that seq."""

    conversation_id: str
    seq: int


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn's row as its nodes see it. A rerun has the workflow id it is one of, its `as_of` and its origin."""

    tenant_id: str
    account_id: str
    conversation_id: str
    seq: int
    workflow_id: str
    asked_at: datetime
    question: str
    question_tokens: int  # upper bound
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
    rerun_of: str | None = None
    as_of: AsOf | None = None
    origin: Place | None = None  # where the original of all reruns stands


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
    prompts: dict[str, str] = field(default_factory=dict)  # digest of each prompt file by its name


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
    summary: str = ""  # of what came before the history
    marker: str = ""  # of this request: what no document knows and no answer holds; empty: the answerer draws one


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
    flags: tuple[str, ...] = ()  # what had to be done to the text


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


@dataclass(frozen=True, slots=True)
class TranscriptEntry:
    """A question and what came of it, as an export tells it."""

    workflow_id: str
    question: str
    asked_at: datetime
    outcome: State | None
    answer: str | None
    answered_at: datetime | None
    finish: Finish | None
    model_used: str | None
    sources: tuple[Source, ...]


def withheld(question: str) -> str:
    """What is said instead of an answer of which nothing may be shown, in the question's language."""
    if is_korean(question):
        return "이 답변은 표시할 수 없습니다."
    return "This answer cannot be shown."


def not_found(question: str) -> str:
    """The honest answer when no passage is evidence for the question, in the question's language."""
    if is_korean(question):
        return "문서에서 이 질문에 대한 답을 찾지 못했습니다."
    return "Your documents do not contain an answer to this question."
