"""Runs: a workflow seen from outside. Live state comes from Temporal, the outcome from our own row."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from domain import names


class Kind(StrEnum):
    CHAT = "chat"
    INGESTION = "ingestion"
    REPLAY = "replay"


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
    """Input of `ChatTurn`: ids only, the words are in the turn's row. `graph` is the one it was started with."""

    tenant: str
    account: str
    conversation: str
    seq: int
    graph: str = "chat"


@dataclass(frozen=True, slots=True)
class Ingestion:
    """Input of `IngestDocument`: ids only, the bytes are in the blob store."""

    tenant: str
    account: str
    document: str
    version: int


@dataclass(frozen=True, slots=True)
class Replay:
    """Input of `ReplayRuns`: which of the tenant's ingestions to set going again. Times are RFC 3339.

    Only what had stopped before `before`, so that a run that parks anew meanwhile is not replayed for ever.
    """

    tenant: str
    account: str
    nonce: str
    states: tuple[str, ...]
    before: str
    since: str | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """What it takes to start a run."""

    workflow: str
    queue: str
    workflow_id: str
    input: Question | Ingestion | Replay


@dataclass(frozen=True, slots=True)
class Parked:
    """Where a run stands still until somebody decides: the step that gave up, its error's code, and since when."""

    step: str
    code: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run over many things has come; `failed` are not part of `done`."""

    done: int
    failed: int
    total: int


class Mode(StrEnum):
    """How a run was set going again."""

    RESUMED = "resumed"  # it was open and parked
    RESET = "reset"  # it was closed: a new run begins at the step that failed
    RESTARTED = "restarted"  # from the beginning: nothing of the old run could be used


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did; the workflow id stays the same."""

    mode: Mode
    run_id: str
    from_step: str


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
    parked: Parked | None = None
    replayed_run: str | None = None  # the closed run that a replay was asked for; empty when Temporal had forgotten it
    parameters: dict[str, Any] = field(default_factory=dict)
    progress: Progress | None = None

    @property
    def settled(self) -> bool:
        """Nothing happens until somebody does something: it has ended, or it is parked."""
        return self.outcome is not None or self.parked is not None

    @property
    def launch(self) -> Launch:
        if self.kind is Kind.REPLAY:
            replay = Replay(self.tenant_id, self.account_id, **{**self.parameters, "states": _states(self.parameters)})
            return Launch("ReplayRuns", names.DOCUMENTS_QUEUE, self.workflow_id, replay)
        if self.kind is Kind.CHAT:
            assert self.conversation_id is not None and self.seq is not None
            question = Question(self.tenant_id, self.account_id, self.conversation_id, self.seq, graph="turn")
            return Launch("ChatTurn", names.CHAT_QUEUE, self.workflow_id, question)
        assert self.document_id is not None and self.version is not None
        ingestion = Ingestion(self.tenant_id, self.account_id, self.document_id, self.version)
        return Launch("IngestDocument", names.DOCUMENTS_QUEUE, self.workflow_id, ingestion)


def _states(parameters: dict[str, Any]) -> tuple[str, ...]:
    return tuple(parameters["states"])


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended; `error_code` is one of domain.errors, `error_step` the node that gave up."""

    state: State
    error_code: str | None = None
    error_step: str | None = None
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LiveRun:
    """What Temporal knows of a run right now; `code` says why it failed where the row cannot know."""

    run_id: str
    state: State
    step: str | None = None
    waiting_for: str | None = None
    attempt: int = 1
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    items: list[Item]
    next_cursor: str | None = None
