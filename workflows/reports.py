"""Write to a run's row where it stands: parked, going on, or how it ended when no step of it said so."""

from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.runs import Report, RunActivities
    from agents.options import RECORD
    from domain.runs import State

from workflows.failures import Failure


async def report(
    tenant: str, account: str, state: State, failure: Failure | None = None, result: dict[str, Any] | None = None
) -> None:
    stands = Report(
        tenant=tenant,
        account=account,
        workflow_id=workflow.info().workflow_id,
        state=state,
        error_code=failure.code if failure else None,
        error_step=failure.step if failure else None,
        result=result or {},
    )
    await workflow.execute_activity_method(RunActivities.report, stands, **RECORD)
