"""Whatever happens in whatever order, months are the sum of what was bought, and nothing stays reserved."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from activities.ledger import LedgerComparison
from domain.access import UserChange
from domain.accounts import Principal
from domain.names import new_id
from domain.reconcile import Finding, Tally
from domain.runs import Command, Outcome, State
from domain.usage import BILLED, COUNTED, Delivery, ProviderCall, Purpose, month_of, next_month
from infra.sql.database import Database
from infra.sql.ledger import SqlLedger
from infra.sql.tables import budgets
from tests.contract.records import Records, a_call

ENDLESS = 10**12
LEAP_DAY = datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC)
MANY = settings(
    max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

TOKENS = st.integers(0, 500)
RUN = st.integers(0, 3)
STEPS = st.one_of(
    st.tuples(st.just("admit")),
    st.tuples(st.just("answer"), RUN, TOKENS),
    st.tuples(st.just("record"), RUN, TOKENS, st.sampled_from(Delivery), st.sampled_from(Purpose), st.booleans()),
    st.tuples(st.just("say_again"), RUN, st.sampled_from(Delivery)),
    st.tuples(st.just("cancel"), RUN),
    st.tuples(st.just("settle"), RUN, st.integers(1, 3)),
    st.tuples(st.just("month_ends")),
)


async def differences(records: Records, principal: Principal) -> tuple[list[Finding], Tally]:
    comparison = LedgerComparison(SqlLedger(records.database), records.usage, closed=timedelta(0))
    found, tally = list[Finding](), Tally()
    for part in comparison.parts().values():
        async for sheet in part(Principal(principal.tenant, account=""), None):
            found += sheet.findings
            tally = tally.with_sheet(sheet)
    return found, tally


async def months(database: Database, principal: Principal) -> dict[str, tuple[int, int]]:
    """Used and reserved, of months that have a row."""
    query = select(budgets).where(budgets.c.account_id == principal.account)
    async with database.read() as connection:
        return {row.month: (row.used, row.reserved) for row in await connection.execute(query)}


@dataclass
class World:
    """What was done, and what each line should count."""

    records: Records
    me: Principal
    now: list[datetime]
    runs: list[Command] = field(default_factory=list)
    outcomes: dict[str, State] = field(default_factory=dict)
    lines: dict[str, ProviderCall] = field(default_factory=dict)
    last: dict[str, ProviderCall] = field(default_factory=dict)

    async def do(self, step: Sequence[object]) -> None:
        name, *facts = step
        if name == "admit":
            self.runs.append(await self.records.ask(self.me, billable=True))
        elif name == "month_ends":
            self.now[0] = next_month(self.now[0]) + timedelta(seconds=1)
        elif self.runs:
            number, *rest = facts
            assert isinstance(number, int)
            await getattr(self, f"_{name}")(self.runs[number % len(self.runs)], *rest)

    async def end(self) -> None:
        for run in self.runs:
            await self._cancel(run)
            await self._settle(run, 1)

    def bought(self) -> Counter[str]:
        sums: Counter[str] = Counter()
        for line in self.lines.values():
            if line.billable and line.purpose in COUNTED and line.delivery in BILLED:
                sums[month_of(line.at)] += line.prompt_tokens + line.completion_tokens
        return sums

    async def _answer(self, run: Command, tokens: int) -> None:
        """A second answer, and one after a cancel, come too late: the first is nobody's, the second its caller's."""
        line = a_call(run, at=self.now[0], completion_tokens=tokens)
        late = self.outcomes.setdefault(run.workflow_id, State.SUCCEEDED) is State.SUCCEEDED and self._answered(run)
        await self.records.answer(self.me, run, line, completion_tokens=tokens)
        self.lines[line.op_id] = replace(line, delivery=Delivery.RETRIED) if late else line

    def _answered(self, run: Command) -> bool:
        mine = (line for line in self.lines.values() if line.workflow_id == run.workflow_id)
        return any(line.purpose is Purpose.CHAT and line.delivery in BILLED for line in mine)

    async def _record(self, run: Command, tokens: int, delivery: Delivery, purpose: Purpose, billable: bool) -> None:
        if purpose is Purpose.CHAT and delivery in BILLED:
            return  # by an answer only
        line = a_call(run, at=self.now[0], prompt_tokens=tokens, delivery=delivery, purpose=purpose, billable=billable)
        await self._write(line)
        if purpose is not Purpose.CHAT:
            self.last[run.workflow_id] = line

    async def _say_again(self, run: Command, delivery: Delivery) -> None:
        """The last call's end, told after it began, or once more, in whatever month it is by then."""
        line = self.last.get(run.workflow_id)
        if line is not None:
            await self._write(replace(line, delivery=delivery, at=self.now[0]))

    async def _write(self, line: ProviderCall) -> None:
        await self.records.usage.record(self.me, [line])
        if self.lines.get(line.op_id, line).delivery not in BILLED and line.delivery is not Delivery.OPEN:
            self.lines[line.op_id] = line
        self.lines.setdefault(line.op_id, line)

    async def _cancel(self, run: Command) -> None:
        if await self.records.runs.close(self.me, run.workflow_id, Outcome(State.CANCELLED)):
            self.outcomes[run.workflow_id] = State.CANCELLED

    async def _settle(self, run: Command, times: int) -> None:
        await asyncio.gather(*(self.records.usage.settle(self.me, run.workflow_id) for _ in range(times)))


@MANY
@given(steps=st.lists(STEPS, min_size=8, max_size=25))
async def test_months_are_what_was_bought_whatever_happens_in_whatever_order(
    database: Database, steps: list[tuple[object, ...]]
) -> None:
    """M06, M12: months end in between, and runs are settled several times at once, early, late or twice."""
    now = [LEAP_DAY]
    records = Records.over(database, clock=lambda: now[0])
    me = (await records.newcomer()).principal
    await records.tenants.set_budget(me.tenant, ENDLESS)
    world = World(records, me, now)

    for step in steps:
        await world.do(step)
    await world.end()

    found, tally = await differences(records, me)
    kept = await months(database, me)
    assert found == []
    assert tally.compared.get("runs", 0) == len(world.runs)
    assert tally.compared.get("calls", 0) == len(world.lines)
    assert {month: used for month, (used, _) in kept.items() if used} == +world.bought()
    assert all(reserved == 0 for _, reserved in kept.values())


async def test_a_stream_over_the_end_of_a_leap_day_counts_in_the_month_of_its_reply(
    database: Database,
) -> None:
    """M06: each line by its own time, the reservation where it was made; months sum to the provider's log."""
    now = [LEAP_DAY]
    records = Records.over(database, clock=lambda: now[0])
    me = (await records.newcomer()).principal
    command = await records.ask(me, billable=True)
    rewriting = a_call(command, at=LEAP_DAY, purpose=Purpose.CONDENSE, prompt_tokens=7, completion_tokens=0)
    stream = a_call(command, at=LEAP_DAY, delivery=Delivery.OPEN, completion_tokens=0)
    await records.usage.record(me, [rewriting, stream])
    before = await months(database, me)

    now[0] = LEAP_DAY + timedelta(seconds=2)
    spoken = replace(stream, at=now[0], delivery=Delivery.DELIVERED, completion_tokens=10)
    await records.answer(me, command, spoken)
    during, _ = await differences(records, me)
    await records.usage.settle(me, command.workflow_id)
    after, _ = await differences(records, me)

    assert before["2028-02"][1] > 0
    assert await months(database, me) == {"2028-02": (7, 0), "2028-03": (100, 0)}
    assert [finding.difference for finding in during] == ["unsettled"]
    assert after == []


async def test_a_month_begins_at_midnight_utc_whatever_the_clocks_on_the_wall_say(
    records: Records, me: Principal
) -> None:
    """M06: with an offset, and in the hour that summer time repeats."""
    command = await records.ask(me, billable=True)
    moments = [
        datetime.fromisoformat(moment)
        for moment in (
            "2028-03-01T00:59:59+01:00",
            "2028-02-29T16:00:00-08:00",
            "2028-10-29T02:30:00+02:00",
            "2028-10-29T02:30:00+01:00",
        )
    ]
    calls = [a_call(command, at=moment, purpose=Purpose.CONDENSE) for moment in moments]
    await records.usage.record(me, calls)

    await records.usage.settle(me, command.workflow_id)

    kept = await months(records.database, me)
    used = {month: used for month, (used, _) in kept.items() if used}
    assert used == {"2028-02": 100, "2028-03": 100, "2028-10": 200}
    assert (await differences(records, me))[0] == []


async def test_a_limit_that_is_lowered_below_what_runs_leaves_their_bill_whole(records: Records, me: Principal) -> None:
    """M07."""
    command = await records.ask(me, billable=True)
    held = (await months(records.database, me))[month_of(command.created_at)][1]
    await records.users.change(me, me.account, UserChange(token_limit=1))
    await records.answer(me, command, a_call(command))

    assert await records.usage.settle(me, command.workflow_id) == 100

    month = await records.usage.month(me, month_of(datetime.now(UTC)))
    assert held > 1
    assert (month.used, month.reserved, month.limit) == (100, 0, 1)
    assert (await differences(records, me))[0] == []


async def test_a_user_who_is_disabled_while_asking_is_billed_and_holds_nothing(records: Records, me: Principal) -> None:
    """M07."""
    colleague = (await records.colleague(me)).principal
    await records.tenants.set_budget(me.tenant, ENDLESS)
    await records.users.change(me, colleague.account, UserChange(token_limit=10**6))
    answered, given_up = [await records.ask(colleague, billable=True) for _ in range(2)]
    await records.usage.record(colleague, [a_call(given_up, op_id=new_id(), delivery=Delivery.OPEN)])

    await records.users.change(me, colleague.account, UserChange(is_active=False))
    await records.answer(colleague, answered, a_call(answered))
    await records.runs.close(colleague, given_up.workflow_id, Outcome(State.CANCELLED))
    for command in (answered, given_up):
        await records.usage.settle(colleague, command.workflow_id)

    month = await records.usage.month(colleague, month_of(datetime.now(UTC)))
    assert (month.used, month.reserved) == (100, 0)
    assert (await differences(records, me))[0] == []
