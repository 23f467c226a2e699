"""The sweeper: a schedule runs it every 10 seconds so that what was admitted is also started."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.runs import SweepActivities
    from agents.options import SWEEP


@workflow.defn(failure_exception_types=[Exception])
class Sweep:
    @workflow.run
    async def run(self) -> int:
        """How many commands were started or closed."""
        return await workflow.execute_activity_method(SweepActivities.sweep, **SWEEP)
