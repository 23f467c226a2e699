"""Runs about runs: the sweeper, started by a schedule every 10 seconds, and the replay of many."""

from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.runs import ReplayActivities, ReplayPage, SweepActivities
    from agents.options import REPLAY, SWEEP
    from domain.runs import Replay, State

from workflows.reports import report


@workflow.defn(failure_exception_types=[Exception])
class Sweep:
    @workflow.run
    async def run(self) -> int:
        """How many commands were started, closed or settled."""
        return await workflow.execute_activity_method(SweepActivities.sweep, **SWEEP)


@workflow.defn(failure_exception_types=[Exception])
class ReplayRuns:
    @workflow.run
    async def run(self, replay: Replay) -> dict[str, Any]:
        """How many ingestions were set going again, page by page, and how many could not be."""
        page = ReplayPage(replay, workflow.info().workflow_id)
        while True:
            done = await workflow.execute_activity_method(ReplayActivities.page, page, **REPLAY)
            if done.cursor is None:
                break
            page = ReplayPage(replay, page.workflow_id, done.cursor, done.progress)
        result = {"replayed": done.progress.done, "failed": done.progress.failed}
        state = State.PARTIAL if done.progress.failed else State.SUCCEEDED
        await report(replay.tenant, replay.account, state, result=result)
        return result
