"""Compare a tenant's ledger with what is derived from it, page by page, and mend what may be mended.

runs: closed ones are settled, answers cost what their calls say -> calls: none is left open
-> months: they are what their calls and runs add up to
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from domain.accounts import Principal
from domain.ledger import compare_month, compare_run
from domain.ports import Ledger, UsageRecords
from domain.reconcile import Difference, Finding, Sheet

CLOSED = timedelta(seconds=60)  # a run's own metering child settles it within seconds
ABANDONED = timedelta(hours=1)  # no call lasts that long, and whoever made it is gone
PAGE = 200  # rows, folders

Sheets = AsyncIterator[Sheet]
Part = Callable[[Principal, str | None], Sheets]  # from a cursor on


@dataclass(frozen=True, slots=True)
class LedgerComparison:
    ledger: Ledger
    usage: UsageRecords
    closed: timedelta = CLOSED
    abandoned: timedelta = ABANDONED
    page: int = PAGE

    def parts(self) -> Mapping[str, Part]:
        """In this order: a month adds up once its runs are settled."""
        return {"usage": self._runs, "calls": self._calls, "months": self._months}

    async def mend(self, principal: Principal, finding: Finding) -> bool:
        match finding.difference:
            case Difference.UNSETTLED:
                await self.usage.settle(replace(principal, account=finding.detail), finding.subject)
            case Difference.CALL_OPEN:
                await self.ledger.give_up(principal, finding.detail, finding.subject)
            case Difference.MONTH_USED | Difference.MONTH_RESERVED:
                await self.ledger.rebuild(principal, finding.detail, finding.subject)
            case _:
                return False
        return True

    async def _runs(self, principal: Principal, cursor: str | None) -> Sheets:
        before = datetime.now(UTC) - self.closed
        while True:
            page = await self.ledger.closed(principal, before, limit=self.page, cursor=cursor)
            findings = [finding for run in page.items for finding in compare_run(principal.tenant, run)]
            cursor = page.next_cursor
            yield Sheet(cursor, findings, {"runs": len(page.items)})
            if cursor is None:
                return

    async def _calls(self, principal: Principal, cursor: str | None) -> Sheets:
        before = datetime.now(UTC) - self.abandoned
        while True:
            page = await self.ledger.open_calls(principal, before, limit=self.page, cursor=cursor)
            findings = [
                Finding(Difference.CALL_OPEN, principal.tenant, call.op_id, call.account) for call in page.items
            ]
            cursor = page.next_cursor
            yield Sheet(cursor, findings)
            if cursor is None:
                return

    async def _months(self, principal: Principal, cursor: str | None) -> Sheets:
        while True:
            page = await self.ledger.months(principal, limit=self.page, cursor=cursor)
            findings = [finding for sums in page.items for finding in compare_month(principal.tenant, sums)]
            cursor = page.next_cursor
            calls = sum(sums.calls for sums in page.items)
            yield Sheet(cursor, findings, {"months": len(page.items), "calls": calls})
            if cursor is None:
                return
