"""Report where a run stands, set going again what had stopped, and repair what nobody else can."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog
from temporalio import activity

from domain.accounts import Principal
from domain.errors import Permanent, RunFinished
from domain.events import TOLD_BY
from domain.ports import Engine, Events, Registry, RunRecords, UsageRecords
from domain.runs import FINAL, Command, Kind, LiveRun, Mode, Outcome, Page, Progress, Replay, Replayed, State

OVERLOOKED = timedelta(seconds=30)  # admission starts its own runs within seconds; older ones it could not
LAST_WORDS = 2.0  # seconds; a worker that is dead says nothing
A_MOMENT = 0.05
A_SWEEP = 100
A_PAGE = 50

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Report:
    """Where a run stands: parked, going on (`running`), or how it ended."""

    tenant: str
    account: str
    workflow_id: str
    state: State
    error_code: str | None = None
    error_step: str | None = None
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunActivities:
    runs: RunRecords
    usage: UsageRecords
    events: Events

    @activity.defn(name="runs.report")
    async def report(self, report: Report) -> None:
        principal = Principal(report.tenant, report.account)
        if report.state is State.PARKED:
            await self.runs.park(principal, report.workflow_id, report.error_step or "", report.error_code or "")
        elif report.state is State.RUNNING:
            await self.runs.resume(principal, report.workflow_id)
        else:
            if report.state is State.CANCELLED:
                await self._last_words(principal, report.workflow_id)
            outcome = Outcome(report.state, report.error_code, report.error_step, report.result)
            await self.runs.close(principal, report.workflow_id, outcome)
        await self.events.publish(principal, report.workflow_id, TOLD_BY[report.state])

    async def _last_words(self, principal: Principal, workflow_id: str) -> None:
        """The step that was cancelled hears of it within half a second; then it writes down what it has so far."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                while await self.usage.is_open(principal, workflow_id):  # noqa: ASYNC110 - in another process
                    await asyncio.sleep(A_MOMENT)


@dataclass(frozen=True, slots=True)
class Replayer:
    """Sets an ingestion going again that had stopped; used by the route, by a replay of many and by the sweeper."""

    runs: RunRecords
    events: Events
    engine: Engine

    async def replay(self, principal: Principal, command: Command) -> Replayed:
        """Raises RunFinished for a run that is not to be replayed: another kind, succeeded, or under way."""
        if command.parked is not None:
            return await self._resume(principal, command)
        if command.kind is not Kind.INGESTION or command.outcome not in (State.FAILED, State.CANCELLED):
            raise RunFinished("Only ingestions that are parked, failed or cancelled can be replayed.")
        live = await self.engine.describe(principal, command.workflow_id)
        closed_run = live.run_id if live else ""
        if not await self.runs.reopen(principal, command.workflow_id, closed_run):
            raise RunFinished("Somebody else has replayed this run.")
        await self.events.publish(principal, command.workflow_id, TOLD_BY[State.RUNNING])
        return await self.engine.replay(principal, command.launch, closed_run)

    async def _resume(self, principal: Principal, command: Command) -> Replayed:
        assert command.parked is not None
        live = await self.engine.describe(principal, command.workflow_id)
        await self.engine.retry(principal, command.workflow_id)
        await self.runs.resume(principal, command.workflow_id, command.parked)
        await self.events.publish(principal, command.workflow_id, TOLD_BY[State.RUNNING])
        return Replayed(Mode.RESUMED, live.run_id if live else "", command.parked.step)


@dataclass(frozen=True, slots=True)
class ReplayPage:
    """One page of a replay of many; `progress` is what the pages before it came to, None before the first."""

    replay: Replay
    workflow_id: str
    cursor: str | None = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class ReplayedPage:
    cursor: str | None
    progress: Progress


@dataclass(frozen=True, slots=True)
class ReplayActivities:
    """Safe to run twice: what was set going no longer counts as stopped."""

    runs: RunRecords
    replayer: Replayer

    @activity.defn(name="runs.replay")
    async def page(self, page: ReplayPage) -> ReplayedPage:
        principal = Principal(page.replay.tenant, page.replay.account)
        progress = page.progress or Progress(0, 0, await self._count(principal, page.replay))
        found = await self.runs.replayable(principal, page.replay, A_PAGE, page.cursor)
        for command in found.items:
            done = await self._replayed(principal, command)
            progress = Progress(progress.done + done, progress.failed + (not done), progress.total)
            activity.heartbeat()
        await self.runs.note_progress(principal, page.workflow_id, progress)
        return ReplayedPage(found.next_cursor, progress)

    async def _replayed(self, principal: Principal, command: Command) -> bool:
        """False for one that cannot be replayed (any more); what is merely away for a moment ends the attempt."""
        try:
            await self.replayer.replay(principal, command)
        except Permanent:
            return False
        return True

    async def _count(self, principal: Principal, replay: Replay) -> int:
        total, cursor = 0, None
        while True:
            page: Page[Command] = await self.runs.replayable(principal, replay, 1000, cursor)
            total, cursor = total + len(page.items), page.next_cursor
            if cursor is None:
                return total


@dataclass(frozen=True, slots=True)
class SweepActivities:
    """Repairs the gaps between our rows and Temporal; it sees all tenants."""

    registry: Registry
    runs: RunRecords
    usage: UsageRecords
    events: Events
    engine: Engine
    overlooked: timedelta = OVERLOOKED

    @activity.defn(name="runs.sweep")
    async def sweep(self) -> int:
        """Overlooked commands, those looked at longest ago first, and runs nobody settled; how many were repaired."""
        commands = await self.registry.open_commands(self.overlooked, A_SWEEP)
        repaired = sum([await self._tried(command) for command in commands])
        return repaired + await self._settle()

    async def _settle(self) -> int:
        unsettled = await self.registry.unsettled(2 * self.overlooked, A_SWEEP)
        for command in unsettled:
            await self.usage.settle(Principal(command.tenant_id, command.account_id), command.workflow_id)
        return len(unsettled)

    async def _tried(self, command: Command) -> bool:
        """One that cannot be repaired keeps no other from it."""
        try:
            return await self._repair(command)
        except Permanent as error:
            _log.error("sweep_refused", run=command.workflow_id, code=error.code)
            return False

    async def _repair(self, command: Command) -> bool:
        principal = Principal(command.tenant_id, command.account_id)
        live = await self.engine.describe(principal, command.workflow_id)
        if live is None:
            await self.engine.start(principal, command.launch)
            return True
        if live.state not in FINAL:
            return await self._agree(principal, command, live)
        if command.replayed_run == live.run_id:  # the replay was admitted, and then nobody was left to do it
            await self.engine.replay(principal, command.launch, live.run_id)
            return True
        return await self._close(principal, command, live)

    async def _agree(self, principal: Principal, command: Command, live: LiveRun) -> bool:
        """Row and workflow say the same of being parked; a word may have been lost between them."""
        if live.state is State.PARKED and command.parked is None:
            return await self.runs.park(principal, command.workflow_id, live.step or "", live.code or "internal")
        if live.state is not State.PARKED and command.parked is not None:
            return await self.runs.resume(principal, command.workflow_id, command.parked)
        return False

    async def _close(self, principal: Principal, command: Command, live: LiveRun) -> bool:
        state = State.FAILED if live.state is State.SUCCEEDED else live.state
        code = None if state is State.CANCELLED else live.code or "internal"
        closed = await self.runs.close(principal, command.workflow_id, Outcome(state, code))
        await self.usage.settle(principal, command.workflow_id)
        await self.events.publish(principal, command.workflow_id, TOLD_BY[state])
        return closed
