"""`moorage verify` and `moorage usage verify`: compare what is kept twice now, and say what differs."""

import asyncio
import json as encoder
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass

from rich.console import Console

from activities.reconcile import Examination, ReconcileActivities
from domain.errors import MoorageError, NotFound
from domain.reconcile import Finding, Sheet, Tally
from infra.services import open_services
from infra.settings import Settings
from infra.telemetry import configure_logging
from workflows.worker import reconcile_activities

LISTED = 1000  # findings of the JSON object; all are counted
COMPARED = ("months", "runs", "calls")  # of the ledger
LINGER = 0.2  # seconds; a process that ends at once was measured to crash in interpreter teardown

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Scope:
    """What is compared: every tenant's stores, or one tenant, or the ledger alone."""

    tenant: str | None = None
    ledger_only: bool = False


EVERYTHING = Scope()


def verify(settings: Settings, *, repair: bool, json: bool, scope: Scope = EVERYTHING) -> int:
    """0 when nothing differs (any more), 1 when something does, 2 when a store does not answer, or no such tenant."""
    configure_logging(settings.log_level, "verify")
    try:
        return asyncio.run(_verify(settings, scope, repair=repair, json=json))
    except MoorageError as error:
        err.print("error:", style="bold red", end=" ")
        err.print(error.code, markup=False)
        return 2


async def _verify(settings: Settings, scope: Scope, *, repair: bool, json: bool) -> int:
    tally, listed = Tally(), list[Finding]()
    async with open_services(settings) as services:
        if scope.tenant is not None and not await services.tenants.known(scope.tenant):
            raise NotFound
        async for tenant, sheet in _examined(reconcile_activities(services), scope, repair=repair):
            tally = tally.with_sheet(sheet).plus(Tally(tenants=tenant))
            listed += sheet.findings[: LISTED - len(listed)]
            for finding in () if json else sheet.findings:
                out.print(_line(finding), markup=False)
    await asyncio.sleep(LINGER)
    if json:
        print(encoder.dumps({**asdict(tally), "findings": [asdict(finding) for finding in listed]}))
    else:
        out.print(_summary(tally), markup=False)
    return 0 if tally.clean else 1


async def _examined(reconcile: ReconcileActivities, scope: Scope, *, repair: bool) -> AsyncIterator[tuple[int, Sheet]]:
    """Page by page; the number is 1 where a tenant ends."""
    async for tenant in _tenants(reconcile, scope):
        async for _, sheet in reconcile.examine(Examination(tenant, repair), ledger_only=scope.ledger_only):
            yield 0, sheet
        yield 1, Sheet(None, [])


async def _tenants(reconcile: ReconcileActivities, scope: Scope) -> AsyncIterator[str]:
    if scope.tenant is not None:
        yield scope.tenant
        return
    after = ""
    while tenants := await reconcile.tenants(after):
        after = tenants[-1]
        for tenant in tenants:
            yield tenant


def _line(finding: Finding) -> str:
    numbers = "" if finding.expected is None else f"{finding.found} instead of {finding.expected}"
    facts = (finding.difference, finding.tenant, finding.subject, finding.detail, numbers)
    return "  ".join([*filter(None, facts), *(["repaired"] if finding.repaired else [])])


def _summary(tally: Tally) -> str:
    numbers = {"tenants": tally.tenants, **{name: tally.compared.get(name, 0) for name in COMPARED}}
    compared = ", ".join(f"{number} {name}" for name, number in numbers.items())
    if not tally.found:
        return f"{compared} compared: nothing differs."
    counts = [f"{tally.repaired.get(name, 0)} of {number} {name}" for name, number in sorted(tally.found.items())]
    return f"{compared} compared; repaired: {', '.join(counts)}."
