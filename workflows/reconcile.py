"""Reconciling: a schedule runs it every hour, tenant after tenant; what is safe to mend is mended."""

from dataclasses import dataclass, field

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.reconcile import Examination, ReconcileActivities
    from agents.options import RECONCILE, SWEEP
    from domain.reconcile import Tally


@dataclass(frozen=True, slots=True)
class Examined:
    """What is done so far, carried through continue-as-new."""

    after: str = ""
    tally: Tally = field(default_factory=Tally)


@workflow.defn(failure_exception_types=[Exception])
class Reconcile:
    @workflow.run
    async def run(self, examined: Examined | None = None) -> Tally:
        """Counts over all tenants."""
        examined = examined or Examined()
        while tenants := await _tenants(examined.after):
            for tenant in tenants:
                examined = Examined(tenant, examined.tally.plus(await _examine(tenant)))
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(examined)
        return examined.tally


async def _tenants(after: str) -> list[str]:
    return await workflow.execute_activity_method(ReconcileActivities.tenants, after, **SWEEP)


async def _examine(tenant: str) -> Tally:
    """A tenant whose stores do not answer holds up no other."""
    work = Examination(tenant, repair=True)
    try:
        return await workflow.execute_activity_method(ReconcileActivities.tenant, work, **RECONCILE)
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        return Tally(unexamined=1)
