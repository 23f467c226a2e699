"""Bodies of runs."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from api.schemas.body import Moment, Request, Response
from domain.runs import Kind, Mode, State


class RunError(Response):
    code: str
    title: str
    detail: str
    step: str | None
    retryable: bool


class Progress(Response):
    done: int
    failed: int
    total: int
    unit: str
    rate_per_s: float | None = None
    eta_s: float | None = None


class RunLinks(Response):
    self: str
    events: str
    cancel: str
    replay: str | None = None
    temporal_ui: str | None


class Run(Response):
    """`step`, `waiting_for` and `attempt` come in the detail, not in lists; so does `result`."""

    workflow_id: str
    run_id: str | None
    kind: Kind
    state: State
    step: str | None = None
    waiting_for: str | None = None
    progress: Progress | None = None
    attempt: int | None = None
    error: RunError | None = None
    result: dict[str, Any] | None = None
    document_id: str | None = None
    version: int | None = None
    conversation_id: str | None = None
    links: RunLinks
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None


class Replayed(Response):
    """`resumed`: it was parked. `reset`: it goes on in a new run from the failed step. `restarted`: from the start."""

    mode: Mode
    workflow_id: str
    run_id: str
    from_step: str


class ReplayRequest(Request):
    """Which of the tenant's ingestions to replay; `since` is when they failed or parked."""

    kind: Literal["ingestion"]
    states: Annotated[list[Literal["parked", "failed"]], Field(min_length=1, max_length=2)] = ["parked", "failed"]
    since: Moment | None = None
