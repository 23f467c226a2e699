"""Report how a run ended, and start what was admitted but never started."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity

from domain.accounts import Principal
from domain.ports import Engine, Events, Registry, RunRecords
from domain.runs import FINAL, Command, Outcome, State

CLOSING = {State.SUCCEEDED: "done", State.FAILED: "error", State.CANCELLED: "cancelled"}
OVERLOOKED = timedelta(seconds=30)  # admission starts its own runs within seconds; older ones it could not
A_SWEEP = 100


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended."""

    tenant: str
    account: str
    workflow_id: str
    state: State
    error_code: str | None = None
    error_step: str | None = None


@dataclass(frozen=True, slots=True)
class RunActivities:
    runs: RunRecords
    events: Events

    @activity.defn(name="runs.report")
    async def report(self, report: Report) -> None:
        principal = Principal(report.tenant, report.account)
        outcome = Outcome(report.state, report.error_code, report.error_step)
        await self.runs.close(principal, report.workflow_id, outcome)
        await self.events.publish(principal, report.workflow_id, CLOSING[report.state])


@dataclass(frozen=True, slots=True)
class SweepActivities:
    """Repairs the gap between admission and Temporal; the only activity that sees all tenants."""

    registry: Registry
    runs: RunRecords
    events: Events
    engine: Engine
    overlooked: timedelta = OVERLOOKED

    @activity.defn(name="runs.sweep")
    async def sweep(self) -> int:
        """Start or close overlooked commands, those looked at longest ago first; how many were repaired."""
        commands = await self.registry.open_commands(self.overlooked, A_SWEEP)
        return sum([await self._repair(command) for command in commands])

    async def _repair(self, command: Command) -> bool:
        principal = Principal(command.tenant_id, command.account_id)
        live = await self.engine.describe(principal, command.workflow_id)
        if live is None:
            await self.engine.start(principal, command.launch)
            return True
        if live.state not in FINAL:
            return False
        state = State.FAILED if live.state is State.SUCCEEDED else live.state
        closed = await self.runs.close(principal, command.workflow_id, Outcome(state, "internal"))
        await self.events.publish(principal, command.workflow_id, CLOSING[state])
        return closed
