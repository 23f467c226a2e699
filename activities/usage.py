"""Settle a run: move what it cost into the month, release what it had reserved."""

from dataclasses import dataclass

from temporalio import activity

from domain.accounts import Principal
from domain.ports import UsageRecords


@dataclass(frozen=True, slots=True)
class Metered:
    """Which run to settle. `local`: where the workflow is, at first."""

    tenant: str
    account: str
    workflow_id: str
    local: bool = False


@dataclass(frozen=True, slots=True)
class UsageActivities:
    usage: UsageRecords

    @activity.defn(name="usage.settle")
    async def settle(self, run: Metered) -> int:
        """The tokens that were counted now; 0 when the run was settled before."""
        return await self.usage.settle(Principal(run.tenant, run.account), run.workflow_id)
