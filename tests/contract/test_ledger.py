"""Contract of Ledger: what is derived from the calls is compared with them, and made anew from them."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, select, update

from activities.ledger import LedgerComparison
from domain.access import UserChange
from domain.accounts import Principal
from domain.names import new_id
from domain.reconcile import Difference, Finding, Tally
from domain.runs import Command
from domain.usage import Delivery, Purpose, month_of
from infra.sql import usage
from infra.sql.database import Database
from infra.sql.ledger import SqlLedger
from infra.sql.tables import budgets, provider_calls, turns
from tests.contract.records import Records, a_call

NOW = datetime.now(UTC)
MONTH = month_of(NOW)
LONG_AGO = NOW - timedelta(hours=2)


class Ledger:
    """A tenant's ledger, looked at without waiting until a run is closed for a minute."""

    def __init__(self, records: Records, me: Principal, page: int = 200) -> None:
        self.records = records
        self.tenant = Principal(me.tenant, account="")
        self.rows = SqlLedger(records.database)
        self.comparison = LedgerComparison(self.rows, records.usage, closed=timedelta(0), page=page)

    async def tally(self, *, repair: bool = False) -> tuple[list[Finding], Tally]:
        found, tally = list[Finding](), Tally()
        for part in self.comparison.parts().values():
            async for sheet in part(self.tenant, None):
                found += [await self._mended(finding) if repair else finding for finding in sheet.findings]
                tally = tally.with_sheet(sheet)
        return found, tally

    async def found(self, *, repair: bool = False) -> list[Finding]:
        return (await self.tally(repair=repair))[0]

    async def _mended(self, finding: Finding) -> Finding:
        return replace(finding, repaired=finding.mendable and await self.comparison.mend(self.tenant, finding))


@pytest.fixture
def ledger(records: Records, me: Principal) -> Ledger:
    return Ledger(records, me)


async def answered(records: Records, me: Principal, *, settled: bool = True, tokens: int = 10) -> Command:
    """A turn of 90 prompt tokens and these, bought and counted."""
    command = await records.ask(me, billable=True)
    await records.answer(me, command, a_call(command, completion_tokens=tokens), completion_tokens=tokens)
    if settled:
        await records.usage.settle(me, command.workflow_id)
    return command


async def counters(records: Records, me: Principal, month: str = MONTH) -> tuple[int, int]:
    found = await records.usage.month(me, month)
    return found.used, found.reserved


async def set_month(database: Database, **values: int) -> None:
    async with database.write() as connection:
        await connection.execute(update(budgets).values(**values))


async def lose_months(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(delete(budgets))


# --- nothing differs ------------------------------------------------------------------------------------------


async def test_a_ledger_that_adds_up_differs_in_nothing_and_says_how_much_was_compared(
    records: Records, ledger: Ledger, me: Principal
) -> None:
    await answered(records, me)
    await records.ask(me, billable=True)  # still running, and holds its reservation
    local = await records.ask(me)
    await records.answer(me, local, a_call(local, billable=False))
    await records.usage.settle(me, local.workflow_id)
    unasked = await records.ask(me)
    await records.answer(me, unasked, prompt_tokens=0, completion_tokens=0)

    found, tally = await ledger.tally()

    assert found == []
    assert tally.compared == {"runs": 3, "calls": 2, "months": 1}


async def test_calls_that_do_not_count_are_no_difference(records: Records, ledger: Ledger, me: Principal) -> None:
    command = await answered(records, me)
    fields: list[dict[str, object]] = [
        {"purpose": Purpose.EMBEDDING},
        {"purpose": Purpose.CONDENSE, "billable": False},
        {"delivery": Delivery.RETRIED},
        {"purpose": Purpose.EMBEDDING, "workflow_id": None},
    ]
    await records.usage.record(me, [a_call(command, **each) for each in fields])
    await records.usage.settle(me, command.workflow_id)

    assert await ledger.found() == []


async def test_a_settlement_in_flight_is_no_difference(database: Database, records: Records, me: Principal) -> None:
    """A run is left to its own metering for a minute, and a month never holds half of a settlement."""
    ledger = Ledger(records, me)
    ledger.comparison = LedgerComparison(ledger.rows, records.usage)
    command = await answered(records, me, settled=False)

    before = await ledger.found()
    async with database.write() as connection:
        assert await usage.settle(connection, me, command.workflow_id) == 100
        during = await ledger.found()
    after = await ledger.found()

    assert (before, during, after) == ([], [], [])


async def test_another_tenants_ledger_is_not_looked_at(records: Records, me: Principal, elsewhere: Principal) -> None:
    await answered(records, me)
    await set_month(records.database, used=7)

    found, tally = await Ledger(records, elsewhere).tally(repair=True)

    assert (found, tally.compared) == ([], {})
    assert await counters(records, me) == (7, 0)


# --- months (M08) ---------------------------------------------------------------------------------------------


async def test_lost_months_are_rebuilt_from_the_calls_and_the_runs(
    records: Records, ledger: Ledger, me: Principal
) -> None:
    """M08: rows lost."""
    await answered(records, me)
    await records.ask(me, billable=True)
    before = await counters(records, me)
    await lose_months(records.database)

    reported, mended = await ledger.found(), await ledger.found(repair=True)

    used = Finding(Difference.MONTH_USED, me.tenant, MONTH, me.account, expected=100, found=0)
    reserved = Finding(Difference.MONTH_RESERVED, me.tenant, MONTH, me.account, expected=before[1], found=0)
    assert before[0] == 100 and before[1] > 0
    assert reported == [used, reserved]
    assert mended == [replace(used, repaired=True), replace(reserved, repaired=True)]
    assert await counters(records, me) == before
    assert await ledger.found() == []


@pytest.mark.parametrize(
    ("wrong", "differs"),
    [
        ({"used": 99}, [(Difference.MONTH_USED, 100, 99)]),
        ({"used": 10**12}, [(Difference.MONTH_USED, 100, 10**12)]),
        ({"reserved": -5}, [(Difference.MONTH_RESERVED, 0, -5)]),
        ({"used": 0, "reserved": 5}, [(Difference.MONTH_USED, 100, 0), (Difference.MONTH_RESERVED, 0, 5)]),
    ],
)
async def test_a_wrong_month_is_found_and_rebuilt(
    records: Records,
    ledger: Ledger,
    me: Principal,
    wrong: dict[str, int],
    differs: list[tuple[Difference, int, int]],
) -> None:
    """M08: rows wrong."""
    await answered(records, me)
    await set_month(records.database, **wrong)

    reported = await ledger.found(repair=True)

    assert [(each.difference, each.expected, each.found) for each in reported] == differs
    assert await counters(records, me) == (100, 0)
    assert await ledger.found() == []


async def test_months_of_every_account_are_rebuilt_each_from_its_own_calls(records: Records, me: Principal) -> None:
    """M08: as the provider's own log has it, page by page."""
    people = [me, *[(await records.colleague(me)).principal for _ in range(2)]]
    await records.tenants.set_budget(me.tenant, 10**9)
    for person in people:
        await records.users.change(me, person.account, UserChange(token_limit=10**6))
    moments = [datetime(2026, month, 15, tzinfo=UTC) for month in (1, 2, 3)]
    for number, person in enumerate(people, start=1):
        command = await answered(records, person)
        calls = [a_call(command, at=moment, purpose=Purpose.CONDENSE, prompt_tokens=number) for moment in moments]
        await records.usage.record(person, calls)
        await records.usage.settle(person, command.workflow_id)
    provider = await bought(records.database)
    await lose_months(records.database)
    paged = Ledger(records, me, page=1)

    found, tally = await paged.tally(repair=True)

    rebuilt = {
        (person.account, month): (await counters(records, person, month))[0]
        for person in people
        for month in {MONTH, *map(month_of, moments)}
    }
    assert len(provider) == len(found) == tally.compared["months"] == 12
    assert rebuilt == provider
    assert await paged.found() == []


async def bought(database: Database) -> dict[tuple[str, str], int]:
    """What the provider was paid for, by account and month, added up here and not by the database."""
    sums: dict[tuple[str, str], int] = {}
    async with database.read() as connection:
        for row in await connection.execute(select(provider_calls)):
            key = (row.account_id, row.month)
            sums[key] = sums.get(key, 0) + row.prompt_tokens + row.completion_tokens
    return sums


async def test_a_settlement_between_sums_and_row_is_not_lost(
    database: Database, records: Records, ledger: Ledger, me: Principal
) -> None:
    """M08: whoever settles when the month is being rebuilt comes before or after, not between."""
    command = await answered(records, me, settled=False)
    await set_month(database, used=7)

    async with database.write() as connection:
        await usage.settle(connection, me, command.workflow_id)
        rebuilding = asyncio.ensure_future(ledger.rows.rebuild(ledger.tenant, me.account, MONTH))
        await asyncio.sleep(0.1)  # it waits at the row, or at SQLite's only writer
        waits = not rebuilding.done()
    await rebuilding

    assert waits
    assert await counters(records, me) == (100, 0)


async def test_months_add_up_however_many_ask_and_settle_while_they_are_rebuilt(
    database: Database, records: Records, ledger: Ledger, me: Principal
) -> None:
    """M08: 40 turns, rebuilt all the time, with rows that are lost now and then."""
    await records.tenants.set_budget(me.tenant, 10**9)
    over = asyncio.Event()

    async def turn(number: int) -> None:
        command = await answered(records, me, settled=False, tokens=number)
        await asyncio.gather(*(records.usage.settle(me, command.workflow_id) for _ in range(2)))

    async def rebuild() -> int:
        times = 0
        while not over.is_set() and times < 500:
            if times % 5 == 4:
                await lose_months(database)
            await ledger.rows.rebuild(ledger.tenant, me.account, MONTH)
            times += 1
        return times

    rebuilding = asyncio.ensure_future(rebuild())
    for start in range(0, 40, 4):
        await asyncio.gather(*(turn(number) for number in range(start, start + 4)))
    over.set()
    times = await rebuilding
    await ledger.rows.rebuild(ledger.tenant, me.account, MONTH)  # the last one may have lost the row

    assert times >= 10
    assert await counters(records, me) == (40 * 90 + sum(range(40)), 0)
    assert await ledger.found() == []


async def test_counters_need_no_second_rebuilding_however_many_ask_and_settle_meanwhile(
    database: Database, records: Records, ledger: Ledger, me: Principal
) -> None:
    """M08: rows that were wrong before are right after one rebuilding amid 40 turns, and stay so."""
    await records.tenants.set_budget(me.tenant, 10**9)
    await answered(records, me)
    await set_month(database, used=10**6, reserved=-1)

    async def turn(number: int) -> None:
        command = await answered(records, me, settled=False, tokens=number)
        await records.usage.settle(me, command.workflow_id)

    async def turns_of_one(lane: int) -> None:
        for number in range(lane, 40, 4):
            await turn(number)

    working = asyncio.gather(*(turns_of_one(lane) for lane in range(4)))
    await asyncio.sleep(0.1)
    assert not working.done()
    await ledger.rows.rebuild(ledger.tenant, me.account, MONTH)
    await working

    assert await counters(records, me) == (100 + 40 * 90 + sum(range(40)), 0)
    assert await ledger.found() == []


# --- runs -----------------------------------------------------------------------------------------------------


async def test_a_closed_run_that_holds_a_reservation_is_settled(
    records: Records, ledger: Ledger, me: Principal
) -> None:
    command = await answered(records, me, settled=False)

    findings = await ledger.found(repair=True)

    expected = Finding(Difference.UNSETTLED, me.tenant, command.workflow_id, me.account, repaired=True)
    assert findings == [expected]
    assert await counters(records, me) == (100, 0)
    assert await ledger.found() == []


async def test_a_closed_run_with_a_call_that_was_not_counted_is_settled(
    records: Records, ledger: Ledger, me: Principal
) -> None:
    command = await records.upload(me)
    await records.usage.record(me, [a_call(command, purpose=Purpose.EMBEDDING)])
    await records.publish(me, command)

    findings = await ledger.found(repair=True)

    assert [(each.difference, each.subject) for each in findings] == [(Difference.UNSETTLED, command.workflow_id)]
    assert await ledger.found() == []


async def test_an_unsettled_run_is_settled_before_its_lost_month_is_rebuilt(
    records: Records, ledger: Ledger, me: Principal
) -> None:
    """M08."""
    await answered(records, me)
    await answered(records, me, settled=False)
    await lose_months(records.database)

    findings = await ledger.found(repair=True)

    assert [each.difference for each in findings] == [Difference.UNSETTLED, Difference.MONTH_USED]
    assert await counters(records, me) == (200, 0)


async def test_only_runs_that_ended_before_the_moment_are_listed(
    records: Records, ledger: Ledger, me: Principal, elsewhere: Principal
) -> None:
    await records.ask(me, billable=True)
    ended = await answered(records, me)
    soon = NOW + timedelta(days=1)

    listed = await ledger.rows.closed(ledger.tenant, soon, limit=10, cursor=None)

    assert [run.workflow_id for run in listed.items] == [ended.workflow_id]
    assert (await ledger.rows.closed(ledger.tenant, soon - timedelta(days=2), limit=10, cursor=None)).items == []
    assert (await ledger.rows.closed(elsewhere, soon, limit=10, cursor=None)).items == []


@pytest.mark.parametrize(
    ("values", "differs"),
    [
        ({"prompt_tokens": 91}, [("prompt tokens", 90, 91)]),
        ({"completion_tokens": 0}, [("completion tokens", 10, 0)]),
        ({"prompt_tokens": 0, "completion_tokens": 0}, [("prompt tokens", 90, 0), ("completion tokens", 10, 0)]),
    ],
)
async def test_an_answer_that_says_something_else_than_its_call_is_reported_only(
    records: Records, ledger: Ledger, me: Principal, values: dict[str, int], differs: list[tuple[str, int, int]]
) -> None:
    command = await answered(records, me)
    async with records.database.write() as connection:
        await connection.execute(update(turns).values(**values))

    findings = await ledger.found(repair=True)

    assert findings == [
        Finding(Difference.TURN_DIFFERS, me.tenant, command.workflow_id, what, expected, found, mendable=False)
        for what, expected, found in differs
    ]
    assert await ledger.found() == findings


@pytest.mark.parametrize("calls", [0, 2])
async def test_an_answer_without_one_call_is_reported_only(
    records: Records, ledger: Ledger, me: Principal, calls: int
) -> None:
    command = await records.ask(me, billable=True)
    await records.answer(me, command, *(a_call(command) for _ in range(calls)))
    await records.usage.settle(me, command.workflow_id)

    findings = await ledger.found(repair=True)

    assert findings == [
        Finding(Difference.TURN_DIFFERS, me.tenant, command.workflow_id, "calls", 1, calls, mendable=False)
    ]


# --- calls ----------------------------------------------------------------------------------------------------


async def test_a_call_whose_run_has_ended_is_given_up_after_an_hour(
    records: Records, ledger: Ledger, me: Principal
) -> None:
    ended, running = await answered(records, me), await records.ask(me, billable=True)
    young, old, of_a_running_one = [
        a_call(command, delivery=Delivery.OPEN, at=at)
        for command, at in ((ended, NOW), (ended, LONG_AGO), (running, LONG_AGO))
    ]
    await records.usage.record(me, [young, old, of_a_running_one])

    findings = [each for each in await ledger.found() if each.difference is Difference.CALL_OPEN]

    assert findings == [Finding(Difference.CALL_OPEN, me.tenant, old.op_id, me.account)]


async def test_a_call_without_a_run_is_given_up_after_an_hour_and_costs_nothing(
    records: Records, ledger: Ledger, me: Principal
) -> None:
    """A search whose process died."""
    command = await answered(records, me)
    searches = [
        a_call(command, workflow_id=None, purpose=Purpose.EMBEDDING, delivery=Delivery.OPEN, at=at)
        for at in (NOW, LONG_AGO)
    ]
    await records.usage.record(me, searches)

    findings = await ledger.found(repair=True)

    assert [(each.subject, each.repaired) for each in findings] == [(searches[1].op_id, True)]
    assert await deliveries(records.database) == {
        searches[0].op_id: Delivery.OPEN,
        searches[1].op_id: Delivery.RETRIED,
    }
    assert await counters(records, me) == (100, 0)
    assert await ledger.found() == []


async def test_a_reply_that_comes_when_its_call_was_given_up_still_counts(
    records: Records, ledger: Ledger, me: Principal
) -> None:
    command = await answered(records, me)
    call = a_call(command, purpose=Purpose.CONDENSE, delivery=Delivery.OPEN)
    await records.usage.record(me, [call])
    await ledger.rows.give_up(ledger.tenant, me.account, call.op_id)

    await records.usage.record(me, [replace(call, delivery=Delivery.DELIVERED)])

    assert await records.usage.settle(me, command.workflow_id) == 100
    assert await ledger.found() == []


async def test_a_line_is_not_given_up(records: Records, ledger: Ledger, me: Principal) -> None:
    command = await records.ask(me, billable=True)
    call = a_call(command)
    await records.usage.record(me, [call])

    await ledger.rows.give_up(ledger.tenant, me.account, call.op_id)

    assert await records.usage.settle(me, command.workflow_id) == 100


async def test_page_by_page_the_same_is_found(records: Records, me: Principal) -> None:
    for number in range(3):
        command = await answered(records, me, settled=False)
        await records.usage.record(
            me, [a_call(command, workflow_id=None, op_id=new_id(), delivery=Delivery.OPEN, at=LONG_AGO)]
        )
        await records.usage.record(
            me, [a_call(command, workflow_id=None, at=datetime(2026, number + 1, 1, tzinfo=UTC))]
        )

    whole, paged = [await Ledger(records, me, page).tally() for page in (200, 1)]

    assert whole == paged
    assert len(whole[0]) == 6


async def deliveries(database: Database) -> dict[str, str]:
    """Of calls without a run."""
    query = select(provider_calls.c.op_id, provider_calls.c.delivery).where(provider_calls.c.workflow_id.is_(None))
    async with database.read() as connection:
        return {row.op_id: row.delivery for row in await connection.execute(query)}
