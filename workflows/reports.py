"""Write a run's end to its row: what a workflow does last when no step of it did."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.runs import Report, RunActivities
    from agents.options import RECORD
    from domain.runs import State

from workflows.failures import Failure


async def report(tenant: str, account: str, state: State, failure: Failure | None = None) -> None:
    ended = Report(
        tenant=tenant,
        account=account,
        workflow_id=workflow.info().workflow_id,
        state=state,
        error_code=failure.code if failure else None,
        error_step=failure.step if failure else None,
    )
    await workflow.execute_activity_method(RunActivities.report, ended, **RECORD)
