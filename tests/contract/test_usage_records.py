"""Contract of UsageRecords: every call is listed once, counts once, and no reservation outlives its run."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from domain.accounts import Account, Principal
from domain.errors import NotFound
from domain.names import new_id
from domain.runs import Outcome, State
from domain.usage import Delivery, Month, Purpose, PurposeTotal, month_of
from infra.sql import usage
from infra.sql.database import Database
from tests.contract.records import Records, a_call, a_colleague

NOW = datetime.now(UTC)
DECEMBER = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
JANUARY = datetime(2027, 1, 1, tzinfo=UTC)


async def this_month(records: Records, principal: Principal) -> Month:
    return await records.usage.month(principal, month_of(datetime.now(UTC)))


async def test_a_month_without_use_is_empty(records: Records, account: Account, me: Principal) -> None:
    month = await records.usage.month(me, "2026-05")

    assert month == Month(account.account_id, "2026-05", used=0, reserved=0, limit=100_000, totals=())


async def test_a_settled_run_moves_its_tokens_and_releases_its_reservation(records: Records, me: Principal) -> None:
    command = await records.ask(me, billable=True)
    await records.answer(me, command, a_call(command, prompt_tokens=90, completion_tokens=10))
    before = await this_month(records, me)

    assert await records.usage.settle(me, command.workflow_id) == 100

    after = await this_month(records, me)
    assert (before.used, before.reserved > 0) == (0, True)
    assert (after.used, after.reserved) == (100, 0)


async def test_settling_twice_counts_once(records: Records, me: Principal) -> None:
    command = await records.ask(me, billable=True)
    other = await records.ask(me, billable=True)
    await records.answer(me, command, a_call(command))
    await records.usage.settle(me, command.workflow_id)
    before = await this_month(records, me)

    assert await records.usage.settle(me, command.workflow_id) == 0

    assert await this_month(records, me) == before
    assert (await records.usage.settle(me, other.workflow_id), (await this_month(records, me)).reserved) == (0, 0)


async def test_settling_many_times_at_once_counts_once(records: Records, me: Principal) -> None:
    command = await records.ask(me, billable=True)
    await records.answer(me, command, a_call(command))

    counted = await asyncio.gather(*(records.usage.settle(me, command.workflow_id) for _ in range(10)))

    assert sorted(counted) == [0] * 9 + [100]
    month = await this_month(records, me)
    assert (month.used, month.reserved) == (100, 0)


async def test_calls_recorded_after_a_settlement_count_in_the_next(records: Records, me: Principal) -> None:
    command = await records.ask(me, billable=True)
    await records.usage.record(me, [a_call(command)])
    await records.usage.settle(me, command.workflow_id)
    await records.usage.record(me, [a_call(command, prompt_tokens=5, completion_tokens=0)])

    assert await records.usage.settle(me, command.workflow_id) == 5

    assert (await this_month(records, me)).used == 105


async def test_an_operation_is_recorded_once(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    call = a_call(command)

    await records.usage.record(me, [call])
    await records.usage.record(me, [call, a_call(command)])

    assert [total.calls for total in (await this_month(records, me)).totals] == [2]


async def test_a_repeated_operation_is_not_counted_again_after_a_settlement(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    call = a_call(command)
    await records.usage.record(me, [call])
    await records.usage.settle(me, command.workflow_id)
    await records.usage.record(me, [call])

    assert await records.usage.settle(me, command.workflow_id) == 0


@pytest.mark.parametrize(
    ("fields", "counted"),
    [
        ({"purpose": Purpose.CHAT}, 100),
        ({"purpose": Purpose.CONDENSE}, 100),
        ({"delivery": Delivery.ESTIMATED}, 100),
        ({"purpose": Purpose.EMBEDDING}, 0),
        ({"delivery": Delivery.RETRIED}, 0),
        ({"billable": False}, 0),
    ],
)
async def test_only_bought_and_delivered_chat_tokens_count(
    records: Records, me: Principal, fields: dict[str, object], counted: int
) -> None:
    command = await records.ask(me)
    await records.usage.record(me, [a_call(command, **fields)])

    assert await records.usage.settle(me, command.workflow_id) == counted

    assert (await this_month(records, me)).used == counted


async def test_a_failed_run_releases_its_reservation(records: Records, me: Principal) -> None:
    command = await records.ask(me, billable=True)

    assert await records.usage.settle(me, command.workflow_id) == 0

    month = await this_month(records, me)
    assert (month.used, month.reserved) == (0, 0)


async def test_a_run_over_midnight_of_new_year_is_counted_and_released_where_it_belongs(
    database: Database, me: Principal
) -> None:
    records = Records.over(database, clock=lambda: DECEMBER)
    command = await records.ask(me, billable=True)
    await records.usage.record(
        me,
        [
            a_call(command, at=DECEMBER, purpose=Purpose.CONDENSE, prompt_tokens=7, completion_tokens=0),
            a_call(command, at=JANUARY),
        ],
    )

    assert await records.usage.settle(me, command.workflow_id) == 107

    december, january = [await records.usage.month(me, month) for month in ("2026-12", "2027-01")]
    assert (december.used, december.reserved) == (7, 0)
    assert (january.used, january.reserved) == (100, 0)


async def test_a_month_sums_up_by_purpose_model_and_who_paid(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    await records.usage.record(
        me,
        [
            a_call(command, cost=7),
            a_call(command),
            a_call(command, model="model-2", cost=5),
            a_call(command, purpose=Purpose.EMBEDDING, workflow_id=None, completion_tokens=0),
            a_call(command, billable=False),
            a_call(command, delivery=Delivery.RETRIED),
        ],
    )

    totals = (await this_month(records, me)).totals

    assert set(totals) == {
        PurposeTotal(Purpose.CHAT, "model-1", 200, 2, True, cost=7, unpriced=1),
        PurposeTotal(Purpose.CHAT, "model-2", 100, 1, True, cost=5),
        PurposeTotal(Purpose.EMBEDDING, "model-1", 90, 1, True, unpriced=1),
        PurposeTotal(Purpose.CHAT, "model-1", 100, 1, False),
    }
    assert len(totals) == 4


async def test_the_counter_equals_the_ledger_when_all_is_settled(records: Records, me: Principal) -> None:
    commands = await asyncio.gather(*(records.ask(me, billable=True) for _ in range(10)))
    await asyncio.gather(*(records.answer(me, command, a_call(command)) for command in commands))

    await asyncio.gather(*(records.usage.settle(me, command.workflow_id) for command in commands))

    month = await this_month(records, me)
    assert month.used == sum(total.tokens for total in month.totals) == 1000
    assert month.reserved == 0


async def test_a_colleagues_usage_is_absent(records: Records, account: Account, me: Principal) -> None:
    command = await records.ask(me, billable=True)
    await records.answer(me, command, a_call(command))

    assert await records.usage.settle(a_colleague(account), command.workflow_id) == 0
    with pytest.raises(NotFound):
        await records.usage.month(a_colleague(account), month_of(NOW))

    assert (await this_month(records, me)).reserved > 0


async def test_another_tenant_cannot_settle_a_run(records: Records, me: Principal, elsewhere: Principal) -> None:
    command = await records.ask(me, billable=True)
    await records.answer(me, command, a_call(command))

    assert await records.usage.settle(elsewhere, command.workflow_id) == 0

    month = await this_month(records, me)
    assert (month.used, month.reserved > 0) == (0, True)


async def test_a_run_without_calls_or_command_settles_to_nothing(records: Records, me: Principal) -> None:
    assert await records.usage.settle(me, f"chat:{me.tenant}:{new_id()}:1") == 0


async def test_a_refused_call_is_forgotten_and_a_line_is_not(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    refused, line = a_call(command, delivery=Delivery.OPEN), a_call(command)
    await records.usage.record(me, [refused, line])

    for op_id in (refused.op_id, line.op_id):
        await records.usage.drop(me, op_id)

    await records.usage.settle(me, command.workflow_id)
    assert await ledger(records, me) == [line.op_id]


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (Delivery.OPEN, Delivery.DELIVERED, Delivery.DELIVERED),
        (Delivery.OPEN, Delivery.RETRIED, Delivery.RETRIED),
        (Delivery.RETRIED, Delivery.ESTIMATED, Delivery.ESTIMATED),
        (Delivery.DELIVERED, Delivery.RETRIED, Delivery.DELIVERED),
        (Delivery.ESTIMATED, Delivery.DELIVERED, Delivery.ESTIMATED),
        (Delivery.DELIVERED, Delivery.OPEN, Delivery.DELIVERED),
    ],
)
async def test_a_line_that_counts_stays_and_any_other_may_still_come_to_count(
    records: Records, me: Principal, first: Delivery, second: Delivery, kept: Delivery
) -> None:
    command = await records.ask(me)
    call = a_call(command, delivery=first)

    await records.usage.record(me, [call])
    await records.usage.record(me, [replace(call, delivery=second)])

    (line,) = (await records.usage.lines(me, month_of(call.at), limit=10, cursor=None)).items
    assert line.delivery is kept


async def test_a_strangers_line_is_not_overwritten(records: Records, me: Principal, elsewhere: Principal) -> None:
    command = await records.ask(me)
    call = a_call(command, delivery=Delivery.RETRIED)
    await records.usage.record(me, [call])

    await records.usage.record(elsewhere, [replace(call, delivery=Delivery.DELIVERED)])

    assert await ledger(records, elsewhere) == []
    assert (await this_month(records, me)).totals == ()


async def test_the_ledger_of_a_month_is_read_page_by_page_newest_first(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    at = [DECEMBER - timedelta(minutes=number // 2) for number in range(25)]
    calls = [a_call(command, at=moment) for moment in at]
    await records.usage.record(me, [*calls, a_call(command, at=JANUARY)])

    seen, cursor = list[str](), None
    while True:
        page = await records.usage.lines(me, "2026-12", limit=7, cursor=cursor)
        seen += [line.op_id for line in page.items]
        if (cursor := page.next_cursor) is None:
            break

    assert seen == [call.op_id for call in sorted(calls, key=lambda call: (call.at, call.op_id), reverse=True)]


async def test_a_line_is_read_as_it_was_written(records: Records, me: Principal) -> None:
    call = a_call(await records.ask(me), cost=123_456_789_012, model="모델", delivery=Delivery.ESTIMATED)

    await records.usage.record(me, [call])

    assert (await records.usage.lines(me, month_of(call.at), limit=1, cursor=None)).items == [call]


async def test_a_turn_beyond_its_reservation_counts_in_full_and_is_reported(records: Records, me: Principal) -> None:
    command = await records.ask(me, billable=True)
    reserved = (await this_month(records, me)).reserved
    before = overshot()
    await records.answer(me, command, a_call(command, prompt_tokens=reserved, completion_tokens=7))

    assert await records.usage.settle(me, command.workflow_id) == reserved + 7

    month = await this_month(records, me)
    assert (month.used, month.reserved) == (reserved + 7, 0)
    assert overshot() - before == 7


async def test_a_line_is_counted_once_and_as_what_the_ledger_says(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    call = a_call(command)
    before = counters()

    await records.usage.record(me, [replace(call, delivery=Delivery.OPEN)])
    opened = counters()
    await records.answer(me, command, call)
    await records.usage.record(me, [call])

    assert opened == before
    assert counters() - before == Counter(
        {("delivered",): 1, ("delivered", "prompt"): 90, ("delivered", "completion"): 10}
    )


async def test_a_call_that_is_given_up_at_a_settlement_is_counted(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    await records.usage.record(me, [a_call(command, delivery=Delivery.OPEN, completion_tokens=0)])
    before = counters()

    for _ in range(2):
        await records.usage.settle(me, command.workflow_id)

    assert counters() - before == Counter({("retried",): 1, ("retried", "prompt"): 90})


async def test_a_call_that_hears_of_its_cancellation_after_the_settlement_is_counted_once(
    records: Records, me: Principal
) -> None:
    command = await records.ask(me)
    call = a_call(command, delivery=Delivery.OPEN, completion_tokens=0)
    await records.usage.record(me, [call])
    await records.runs.close(me, command.workflow_id, Outcome(State.CANCELLED))
    before = counters()

    await records.usage.settle(me, command.workflow_id)
    await records.usage.record(me, [replace(call, delivery=Delivery.ESTIMATED)])

    assert counters() - before == Counter({("estimated",): 1, ("estimated", "prompt"): 90})


async def test_what_is_rolled_back_is_not_counted(records: Records, database: Database, me: Principal) -> None:
    command = await records.ask(me, billable=True)
    reserved, before = (await this_month(records, me)).reserved, (counters(), overshot())

    async def too_late() -> None:
        async with database.write() as connection:
            await usage.record(connection, me, [a_call(command, prompt_tokens=reserved, completion_tokens=7)])
            assert await usage.settle(connection, me, command.workflow_id) == reserved + 7
            raise NotFound

    with pytest.raises(NotFound):
        await too_late()

    assert await ledger(records, me) == []
    assert (counters(), overshot()) == before


def counters() -> Counter[tuple[str, ...]]:
    """This process's lines by outcome, and their tokens by outcome and direction."""
    found: Counter[tuple[str, ...]] = Counter()
    for family in REGISTRY.collect():
        if family.name in ("moorage_provider_calls", "moorage_provider_tokens"):
            for sample in family.samples:
                if sample.name.endswith("_total"):
                    key = (sample.labels["outcome"], sample.labels.get("direction"))
                    found[tuple(word for word in key if word)] += int(sample.value)
    return found


def overshot() -> float:
    return REGISTRY.get_sample_value("moorage_overshot_tokens_total") or 0.0


async def ledger(records: Records, principal: Principal) -> list[str]:
    lines = await records.usage.lines(principal, month_of(datetime.now(UTC)), limit=100, cursor=None)
    return [line.op_id for line in lines.items]
