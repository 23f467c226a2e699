"""Temporal: one client for API, workers and tests, and the engine behind the port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.api.enums.v1 import PendingActivityState, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue, TaskQueueStats
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.common import (
    Priority,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import RPCError, RPCStatusCode

from agents.options import DECISION, EXECUTION
from domain import names
from domain.accounts import Principal
from domain.errors import DeadlineExceeded, NotFound, RunFinished, TemporalUnavailable, Terminated
from domain.load import Backlog
from domain.runs import Ingestion, Launch, LiveRun, Mode, Replayed, State
from infra.settings import Settings
from infra.temporal_reset import reset_to_failed_step

DEADLINE = 2.5  # seconds for one call; the client's own rpc_timeout was measured to take three times as long
LEAVING = 10.0  # seconds: what was written is taken away twice, 1.5 s apart
SWEEP_EVERY = timedelta(seconds=10)
RECONCILE_EVERY = timedelta(hours=1)
TASKS = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
PRIORITY = {names.CHAT_QUEUE: 1, names.DOCUMENTS_QUEUE: 3}

CLOSED = {
    WorkflowExecutionStatus.COMPLETED: State.SUCCEEDED,
    WorkflowExecutionStatus.FAILED: State.FAILED,
    WorkflowExecutionStatus.TIMED_OUT: State.FAILED,
    WorkflowExecutionStatus.TERMINATED: State.FAILED,
    WorkflowExecutionStatus.CANCELED: State.CANCELLED,
}
CODES = {
    WorkflowExecutionStatus.TIMED_OUT: DeadlineExceeded.code,
    WorkflowExecutionStatus.TERMINATED: Terminated.code,
}
FIRST_STEP = "parse"
INGEST_STATE, FAILED_STEP, ERROR_TYPE = map(
    SearchAttributeKey.for_keyword, (names.INGEST_STATE, names.FAILED_STEP, names.ERROR_TYPE)
)


def runtime(metrics_port: int | None) -> Runtime:
    """One per process; with a port, Temporal's own metrics are served there."""
    metrics = PrometheusConfig(
        bind_address=f"127.0.0.1:{metrics_port}",
        durations_as_seconds=True,
        counters_total_suffix=True,
        unit_suffix=True,
    )
    return Runtime(telemetry=TelemetryConfig(metrics=metrics if metrics_port else None))


async def connect(settings: Settings, *, lazy: bool = False, runtime: Runtime | None = None) -> Client:
    """`lazy` lets the API boot before Temporal does; a worker needs a connected client."""
    try:
        return await Client.connect(
            settings.temporal_address,
            namespace=settings.temporal_namespace,
            data_converter=pydantic_data_converter,
            lazy=lazy,
            runtime=runtime,
        )
    except RuntimeError as error:  # the bridge's only exception for an unreachable server
        raise TemporalUnavailable from error


class TemporalEngine:
    """Port Engine. A run is named by our ids; whoever asks must be of the tenant in the name."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def start(self, principal: Principal, launch: Launch) -> str:
        _own(principal, launch.workflow_id)
        try:
            return await self._start(principal, launch, WorkflowIDReusePolicy.REJECT_DUPLICATE)
        except WorkflowAlreadyStartedError as started:
            return started.run_id or ""

    async def describe(self, principal: Principal, workflow_id: str) -> LiveRun | None:
        _own(principal, workflow_id)
        try:
            async with _deadline():
                return _live(await self._client.get_workflow_handle(workflow_id).describe())
        except NotFound:
            return None

    async def cancel(self, principal: Principal, workflow_id: str) -> None:
        """Raises NotFound when Temporal has nothing open under this id."""
        _own(principal, workflow_id)
        async with _deadline():
            await self._client.get_workflow_handle(workflow_id).cancel()

    async def retry(self, principal: Principal, workflow_id: str) -> None:
        await self._signal(principal, workflow_id, "retry")

    async def abort(self, principal: Principal, workflow_id: str) -> None:
        await self._signal(principal, workflow_id, "abort")

    async def terminate(self, principal: Principal, workflow_id: str) -> None:
        _own(principal, workflow_id)
        async with _deadline():
            await self._client.get_workflow_handle(workflow_id).terminate("the tenant is being deleted")

    async def replay(self, principal: Principal, launch: Launch, closed_run: str) -> Replayed:
        _own(principal, launch.workflow_id)
        if closed_run:
            closed = self._client.get_workflow_handle(launch.workflow_id, run_id=closed_run)
            cancelled = await _when_closed(closed) is WorkflowExecutionStatus.CANCELED
            async with _deadline():
                to = None if cancelled else await reset_to_failed_step(self._client, closed)
            if to is not None:
                return Replayed(Mode.RESET, to.run_id, to.step)
        return await self._restart(principal, launch)

    async def _restart(self, principal: Principal, launch: Launch) -> Replayed:
        try:
            run_id = await self._start(principal, launch, WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)
        except WorkflowAlreadyStartedError:
            raise RunFinished from None
        return Replayed(Mode.RESTARTED, run_id, FIRST_STEP)

    async def _start(self, principal: Principal, launch: Launch, reuse: WorkflowIDReusePolicy) -> str:
        async with _deadline():
            handle = await self._client.start_workflow(
                launch.workflow,
                launch.input,
                id=launch.workflow_id,
                task_queue=launch.queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=reuse,
                execution_timeout=EXECUTION[launch.workflow],
                task_timeout=DECISION,
                search_attributes=_attributes(launch),
                priority=Priority(priority_key=PRIORITY[launch.queue], fairness_key=principal.tenant),
            )
        return handle.result_run_id or ""

    async def _signal(self, principal: Principal, workflow_id: str, name: str) -> None:
        _own(principal, workflow_id)
        async with _deadline():
            await self._client.get_workflow_handle(workflow_id).signal(name)

    async def backlog(self, queue: str) -> Backlog:
        """Workflow tasks and activities together, as far as the server knows: its own figures are approximate."""
        stats = [await self._stats(queue, kind) for kind in TASKS]
        oldest = max(one.approximate_backlog_age.ToTimedelta() for one in stats)
        return Backlog(sum(one.approximate_backlog_count for one in stats), oldest)

    async def _stats(self, queue: str, kind: TaskQueueType.ValueType) -> TaskQueueStats:
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace,
            task_queue=TaskQueue(name=queue),
            task_queue_type=kind,
            report_stats=True,
        )
        async with _deadline():
            return (await self._client.workflow_service.describe_task_queue(request)).stats

    async def ping(self) -> None:
        async with _deadline():
            if not await self._client.service_client.check_health():
                raise TemporalUnavailable

    async def schedule_sweeps(self) -> None:
        """Idempotent, as all of them: an existing schedule stays as it is."""
        await self._schedule(names.SWEEP, "Sweep", SWEEP_EVERY)

    async def schedule_reconciling(self) -> None:
        await self._schedule(names.RECONCILE, "Reconcile", RECONCILE_EVERY)

    async def _schedule(self, name: str, workflow: str, interval: timedelta) -> None:
        action = ScheduleActionStartWorkflow(
            workflow, id=name, task_queue=names.DOCUMENTS_QUEUE, execution_timeout=EXECUTION[workflow]
        )
        every = ScheduleIntervalSpec(every=interval)
        policy = SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP)
        try:
            async with _deadline():
                await self._client.create_schedule(
                    name, Schedule(action=action, spec=ScheduleSpec(intervals=[every]), policy=policy)
                )
        except ScheduleAlreadyRunningError:
            pass


@asynccontextmanager
async def _deadline(seconds: float = DEADLINE) -> AsyncIterator[None]:
    """Our own outer deadline and the one place where the client's errors become ours."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise NotFound from error
        raise TemporalUnavailable from error
    except (TimeoutError, RuntimeError) as error:  # RuntimeError: a lazy client that cannot connect
        raise TemporalUnavailable from error


def _own(principal: Principal, workflow_id: str) -> None:
    if names.tenant_of(workflow_id) != principal.tenant:
        raise NotFound


def _attributes(launch: Launch) -> TypedSearchAttributes:
    pairs = {names.TENANT_ID: launch.input.tenant, names.KIND: launch.workflow_id.partition(":")[0]}
    if isinstance(launch.input, Ingestion):
        pairs[names.DOCUMENT_ID] = launch.input.document
    return TypedSearchAttributes(
        [SearchAttributePair(SearchAttributeKey.for_keyword(name), value) for name, value in pairs.items()]
    )


async def _when_closed(handle: WorkflowHandle[Any, Any]) -> WorkflowExecutionStatus | None:
    """A run whose outcome is written may still be taking its leftovers away: that is no Temporal that is silent."""
    async with _deadline():
        status = (await handle.describe()).status
    if status in CLOSED:
        return status
    async with _deadline(LEAVING):
        with suppress(WorkflowFailureError):
            await handle.result(follow_runs=False)
        return (await handle.describe()).status


def _live(description: WorkflowExecutionDescription) -> LiveRun:
    if description.status in CLOSED:
        return LiveRun(description.run_id, CLOSED[description.status], code=CODES.get(description.status))
    if description.typed_search_attributes.get(INGEST_STATE) == State.PARKED:
        return _parked(description)
    pending = description.raw_description.pending_activities
    if not pending:
        begun = description.history_length > 3  # started, task scheduled, task started: no decision yet
        return LiveRun(description.run_id, State.RUNNING if begun else State.QUEUED)
    return _busy(description.run_id, pending[0])


def _busy(run_id: str, work: PendingActivityInfo) -> LiveRun:
    step = work.activity_type.name.rpartition(".")[2]
    started = work.state != PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
    if started or work.attempt == 1:
        first = step in ("recall", "parse") and not started
        return LiveRun(run_id, State.QUEUED if first else State.RUNNING, step, attempt=work.attempt)
    code = work.last_failure.message or "no answer in time"
    reason = code
    if work.HasField("next_attempt_schedule_time"):
        at = work.next_attempt_schedule_time.ToDatetime(tzinfo=UTC)
        reason = f"{code}, next try {_clock(at)}"
    return LiveRun(run_id, State.WAITING, step, waiting_for=reason, attempt=work.attempt)


def _parked(description: WorkflowExecutionDescription) -> LiveRun:
    told = description.typed_search_attributes
    return LiveRun(
        description.run_id,
        State.PARKED,
        told.get(FAILED_STEP),
        waiting_for="retry signal",
        code=told.get(ERROR_TYPE),
    )


def _clock(at: datetime) -> str:
    return at.strftime("%H:%M:%SZ")
