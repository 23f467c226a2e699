"""`moorage admin delete-tenant`: the end of a tenant, in an order that can be taken up again where it broke off.

Shut the door, end the runs, empty the stores, then the rows (the tenant's own row last: it is what makes the rest
findable), count everything again, keep the receipt in the audit log.
"""

import asyncio
import json as encoder
import re
from typing import Any

from cli.operator import out, perform, refuse
from domain.accounts import Principal
from domain.audit import Event, Note
from domain.errors import NotFound
from domain.runs import FINAL
from infra.services import Services
from infra.settings import Settings
from infra.sql.database import utc_now

TENANT = re.compile("[0-9a-f]{32}")
LOOKS = 0.5  # seconds between looks at runs that were told to end

Counts = dict[str, Any]


def delete_tenant(settings: Settings, tenant: str, *, yes: bool, patience: int) -> int:
    """0 when nothing is left, 1 when something is (call it again) or `--yes` is missing, 2 when a store is silent."""

    async def work(services: Services) -> int:
        principal = Principal(tenant, "")
        if not await services.tenants.known(tenant):
            raise NotFound("No such tenant.")
        if not yes:
            print(encoder.dumps({"tenant_id": tenant, "would_erase": await _counts(services, principal)}))
            out.print("Nothing was changed. Say --yes to erase it.", markup=False)
            return 1
        receipt = await _delete(services, principal, patience)
        print(encoder.dumps(receipt))
        return 0 if receipt["complete"] else 1

    return perform(settings, work) if TENANT.fullmatch(tenant) else refuse("TENANT is an id of 32 hexadecimal digits.")


async def _delete(services: Services, principal: Principal, patience: int) -> Counts:
    await services.tenants.close(principal)
    runs = await _end_runs(services, principal, patience)
    erased = await _counts(services, principal)
    for store in services.erasable.values():
        await store.erase(principal)
    await services.tenants.erase(principal)
    left = await _counts(services, principal)
    complete = not (any(left["database"].values()) or any(left[name] for name in services.erasable))
    receipt = {
        "tenant_id": principal.tenant,
        "at": utc_now().isoformat(),
        "complete": complete,
        "runs": runs,
        "erased": erased,
        "left": left,
    }
    await services.audit.note(Note(Event.TENANT_DELETED, principal.tenant, None, principal.tenant, receipt))
    return receipt


async def _counts(services: Services, principal: Principal) -> Counts:
    stores = {name: await store.total(principal) for name, store in services.erasable.items()}
    return {**stores, "database": await services.tenants.rows(principal)}


async def _end_runs(services: Services, principal: Principal, patience: int) -> dict[str, int]:
    """Cancelled runs take their leftovers away; one that does not end in time, for want of a worker, is terminated."""
    ids = await services.tenants.open_runs(principal)
    running = [workflow_id for workflow_id in ids if await _told(services, principal, workflow_id)]
    deadline = asyncio.get_running_loop().time() + patience
    stubborn = await _still_open(services, principal, running)
    while stubborn and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(LOOKS)
        stubborn = await _still_open(services, principal, stubborn)
    # Closed before they are ended by force, so that the sweeper starts none of them anew.
    await services.tenants.cancel_runs(principal, ids)
    for workflow_id in stubborn:
        await _terminate(services, principal, workflow_id)
    return {"open": len(ids), "cancelled": len(running) - len(stubborn), "terminated": len(stubborn)}


async def _told(services: Services, principal: Principal, workflow_id: str) -> bool:
    """False for one that Temporal has not started or no longer knows."""
    try:
        await services.engine.cancel(principal, workflow_id)
    except NotFound:
        return False
    return True


async def _still_open(services: Services, principal: Principal, workflow_ids: list[str]) -> list[str]:
    live = {workflow_id: await services.engine.describe(principal, workflow_id) for workflow_id in workflow_ids}
    return [workflow_id for workflow_id, run in live.items() if run is not None and run.state not in FINAL]


async def _terminate(services: Services, principal: Principal, workflow_id: str) -> None:
    try:
        await services.engine.terminate(principal, workflow_id)
    except NotFound:  # it has just ended
        return
