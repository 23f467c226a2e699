"""Runs: a workflow seen from outside. Live state comes from Temporal, the outcome from our own row."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from domain import names


class Kind(StrEnum):
    CHAT = "chat"
    INGESTION = "ingestion"


class State(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    PARKED = "parked"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


Item = TypeVar("Item")

FINAL = frozenset({State.SUCCEEDED, State.PARTIAL, State.FAILED, State.CANCELLED})
SETTLED = FINAL | {State.PARKED, State.PAUSED}  # what ends a wait


@dataclass(frozen=True, slots=True)
class Question:
    """Input of `ChatTurn`: ids only, the words are in the turn's row."""

    tenant: str
    account: str
    conversation: str
    seq: int


@dataclass(frozen=True, slots=True)
class Ingestion:
    """Input of `IngestDocument`: ids only, the bytes are in the blob store."""

    tenant: str
    account: str
    document: str
    version: int


@dataclass(frozen=True, slots=True)
class Launch:
    """What it takes to start a run."""

    workflow: str
    queue: str
    workflow_id: str
    input: Question | Ingestion


@dataclass(frozen=True, slots=True)
class Command:
    """One admitted request: the row that promises a run, and the registry entry it is listed by."""

    tenant_id: str
    account_id: str
    workflow_id: str
    kind: Kind
    created_at: datetime
    updated_at: datetime
    document_id: str | None = None
    version: int | None = None
    conversation_id: str | None = None
    seq: int | None = None
    outcome: State | None = None
    error_code: str | None = None
    error_step: str | None = None
    result: dict[str, Any] = field(default_factory=dict)
    finished_at: datetime | None = None

    @property
    def launch(self) -> Launch:
        if self.kind is Kind.CHAT:
            assert self.conversation_id is not None and self.seq is not None
            question = Question(self.tenant_id, self.account_id, self.conversation_id, self.seq)
            return Launch("ChatTurn", names.CHAT_QUEUE, self.workflow_id, question)
        assert self.document_id is not None and self.version is not None
        ingestion = Ingestion(self.tenant_id, self.account_id, self.document_id, self.version)
        return Launch("IngestDocument", names.DOCUMENTS_QUEUE, self.workflow_id, ingestion)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended; `error_code` is one of domain.errors, `error_step` the node that gave up."""

    state: State
    error_code: str | None = None
    error_step: str | None = None
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LiveRun:
    """What Temporal knows of a run right now."""

    run_id: str
    state: State
    step: str | None = None
    waiting_for: str | None = None
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    items: list[Item]
    next_cursor: str | None = None
