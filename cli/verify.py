"""`moorage verify`: compare database, search index, blobs and ledger of every tenant now, and say what differs."""

import asyncio
import json as encoder
from collections.abc import AsyncIterator
from dataclasses import asdict

from rich.console import Console

from activities.reconcile import Examination, ReconcileActivities
from domain.errors import MoorageError
from domain.reconcile import Finding, Tally
from infra.services import open_services
from infra.settings import Settings
from infra.telemetry import configure_logging
from workflows.worker import reconcile_activities

LISTED = 1000  # findings of the JSON object; all are counted
LINGER = 0.2  # seconds; a process that ends at once was measured to crash in interpreter teardown

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def verify(settings: Settings, *, repair: bool, json: bool) -> int:
    """0 when nothing differs (any more), 1 when something does, 2 when a store does not answer."""
    configure_logging(settings.log_level, "verify")
    try:
        return asyncio.run(_verify(settings, repair=repair, json=json))
    except MoorageError as error:
        err.print("error:", style="bold red", end=" ")
        err.print(error.code, markup=False)
        return 2


async def _verify(settings: Settings, *, repair: bool, json: bool) -> int:
    tally, listed = Tally(), list[Finding]()
    async with open_services(settings) as services:
        async for tenant, findings in _examined(reconcile_activities(services), repair=repair):
            tally = tally.with_findings(findings).plus(Tally(tenants=tenant))
            listed += findings[: LISTED - len(listed)]
            for finding in () if json else findings:
                out.print(_line(finding), markup=False)
    await asyncio.sleep(LINGER)
    if json:
        print(encoder.dumps({**asdict(tally), "findings": [asdict(finding) for finding in listed]}))
    else:
        out.print(_summary(tally), markup=False)
    return 0 if tally.clean else 1


async def _examined(reconcile: ReconcileActivities, *, repair: bool) -> AsyncIterator[tuple[int, list[Finding]]]:
    """Pages of findings; the number is 1 where a tenant ends."""
    after = ""
    while tenants := await reconcile.tenants(after):
        after = tenants[-1]
        for tenant in tenants:
            async for _, findings in reconcile.examine(Examination(tenant, repair)):
                yield 0, findings
            yield 1, []


def _line(finding: Finding) -> str:
    numbers = "" if finding.expected is None else f"{finding.found} instead of {finding.expected}"
    facts = (finding.difference, finding.tenant, finding.subject, finding.detail, numbers)
    return "  ".join([*filter(None, facts), *(["repaired"] if finding.repaired else [])])


def _summary(tally: Tally) -> str:
    if not tally.found:
        return f"{tally.tenants} tenants examined: nothing differs."
    counts = [f"{tally.repaired.get(name, 0)} of {number} {name}" for name, number in sorted(tally.found.items())]
    return f"{tally.tenants} tenants examined; repaired: {', '.join(counts)}."
