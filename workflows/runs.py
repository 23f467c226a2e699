"""Runs about runs: the sweeper, started by a schedule every 10 seconds, and the replay of many."""

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.runs import ReplayActivities, ReplayedPage, ReplayPage, SweepActivities
    from agents.options import REPLAY, SWEEP
    from domain.runs import Progress, Replay, State

from workflows.failures import cancelled, failure_of
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
        try:
            progress = await self._through(replay)
        except (ActivityError, asyncio.CancelledError) as error:
            if cancelled(error):
                await report(replay.tenant, replay.account, State.CANCELLED)
                raise
            failure = failure_of(error)
            await report(replay.tenant, replay.account, State.FAILED, failure)
            raise failure.error() from None
        result = {"replayed": progress.done, "failed": progress.failed}
        state = State.PARTIAL if progress.failed else State.SUCCEEDED
        await report(replay.tenant, replay.account, state, result=result)
        return result

    async def _through(self, replay: Replay) -> Progress:
        page = ReplayPage(replay, workflow.info().workflow_id)
        while True:
            done: ReplayedPage = await workflow.execute_activity_method(ReplayActivities.page, page, **REPLAY)
            if done.cursor is None:
                return done.progress
            page = ReplayPage(replay, page.workflow_id, done.cursor, done.progress)
