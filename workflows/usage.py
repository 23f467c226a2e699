"""Metering: a child that nobody waits for settles what a run cost."""

from contextlib import suppress

from temporalio import workflow
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from activities.usage import Metered, UsageActivities
    from agents.options import DECISION, RECORD
    from domain import names

from workflows.steps import local_first


@workflow.defn(failure_exception_types=[Exception])
class RecordUsage:
    @workflow.run
    async def run(self, run: Metered) -> int:
        if run.local:
            return int(await local_first("usage.settle", run, RECORD))
        return await workflow.execute_activity_method(UsageActivities.settle, run, **RECORD)


async def meter(tenant: str, account: str) -> None:
    """Start the child and go on; waiting until it has started is what makes sure that it will run."""
    info = workflow.info()
    metered = Metered(tenant, account, info.workflow_id, local=True)
    with suppress(WorkflowAlreadyStartedError):  # this run is metered already
        await workflow.start_child_workflow(
            RecordUsage.run,
            metered,
            id=names.usage_run(info.workflow_id, info.run_id),
            parent_close_policy=ParentClosePolicy.ABANDON,
            task_timeout=DECISION,
        )
