"""What the ledger says of a call, however it ends."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment

from activities.meter import Asked, Call, Meter
from domain.accounts import Principal
from domain.errors import (
    DatabaseUnavailable,
    MoorageError,
    ProviderAuth,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderUnavailable,
)
from domain.names import new_id
from domain.prices import Price, Prices
from domain.runs import Command
from domain.usage import Delivery, Month, ProviderCall, Purpose, month_of
from tests.contract.records import Records
from tests.contract.tokenizer import WordTokenizer

ALWAYS = datetime.min.replace(tzinfo=UTC)
PRICES = Prices("USD", [Price("model-1", ALWAYS, Decimal("0.15"), Decimal("0.60"))])


@pytest.fixture
def meter(records: Records) -> Meter:
    return Meter(records.usage, WordTokenizer(), PRICES)


@pytest.fixture
async def command(records: Records, me: Principal) -> Command:
    return await records.ask(me, billable=True)


def asked(command: Command | None, *, billable: bool = True) -> Asked:
    """Four words are sent: six tokens, cautiously."""
    return Asked(
        op_id=new_id(),
        workflow_id=command.workflow_id if command else None,
        purpose=Purpose.CHAT,
        model="model-1",
        sent=["Say", "three words, please."],
        billable=billable,
    )


async def lines(records: Records, me: Principal) -> list[ProviderCall]:
    return list((await records.usage.lines(me, month_of(datetime.now(UTC)), limit=100, cursor=None)).items)


async def month(records: Records, me: Principal) -> Month:
    return await records.usage.month(me, month_of(datetime.now(UTC)))


async def call(meter: Meter, me: Principal, about: Asked, work: Callable[[Call], None]) -> None:
    async with meter.call(me, about) as opened:
        work(opened)


def say(words: str, then: BaseException) -> Callable[[Call], None]:
    def work(opened: Call) -> None:
        if words:
            opened.hear(words)
        raise then

    return work


async def test_a_call_that_is_being_made_is_no_line_yet(
    records: Records, me: Principal, meter: Meter, command: Command
) -> None:
    async with meter.call(me, asked(command)):
        assert await lines(records, me) == []
        assert (await month(records, me)).totals == ()


async def test_a_reply_is_a_line_with_the_models_figures_and_its_price(
    records: Records, me: Principal, meter: Meter, command: Command
) -> None:
    async with meter.call(me, asked(command)) as opened:
        await meter.record(me, opened.answered("model-1", 1000, 100))

    (line,) = await lines(records, me)
    assert (line.prompt_tokens, line.completion_tokens, line.delivery) == (1000, 100, Delivery.DELIVERED)
    assert line.cost == 150 * 1000 + 600 * 100
    assert await records.usage.settle(me, command.workflow_id) == 1100


async def test_a_model_without_a_price_is_listed_as_such(
    records: Records, me: Principal, meter: Meter, command: Command
) -> None:
    async with meter.call(me, asked(command)) as opened:
        await meter.record(me, opened.answered("model-2", 1000, 100))

    (total,) = (await month(records, me)).totals
    assert (total.cost, total.unpriced) == (None, 1)


async def test_a_reply_without_usage_is_an_estimate_and_counts(
    records: Records, me: Principal, meter: Meter, command: Command
) -> None:
    async with meter.call(me, asked(command)) as opened:
        await meter.record(me, opened.answered("model-1", 6, 3, estimated=True))

    assert [line.delivery for line in await lines(records, me)] == [Delivery.ESTIMATED]
    assert await records.usage.settle(me, command.workflow_id) == 9


@pytest.mark.parametrize(
    "refusal", [ProviderRateLimited(), ProviderAuth(), ProviderUnavailable()], ids=lambda e: e.code
)
async def test_a_call_that_was_refused_leaves_nothing(
    records: Records, me: Principal, meter: Meter, command: Command, refusal: MoorageError
) -> None:
    with pytest.raises(type(refusal)):
        await call(meter, me, asked(command), say("", refusal))
    await records.usage.settle(me, command.workflow_id)

    assert await lines(records, me) == []


@pytest.mark.parametrize(
    ("words", "failure", "completion"),
    [("Half an answer", ProviderUnavailable(), 5), ("", ProviderMalformed(), 0), ("A word", RuntimeError(), 3)],
)
async def test_a_call_that_broke_off_is_listed_by_estimate_and_not_counted(
    records: Records,
    me: Principal,
    meter: Meter,
    command: Command,
    words: str,
    failure: Exception,
    completion: int,
) -> None:
    with pytest.raises(type(failure)):
        await call(meter, me, asked(command), say(words, failure))

    (line,) = await lines(records, me)
    assert (line.prompt_tokens, line.completion_tokens, line.delivery) == (6, completion, Delivery.RETRIED)
    assert await records.usage.settle(me, command.workflow_id) == 0


async def test_a_reply_that_came_to_nothing_is_listed_with_the_models_figures_and_not_counted(
    records: Records, me: Principal, meter: Meter, command: Command
) -> None:
    def work(opened: Call) -> None:
        opened.answered("model-1", 1000, 100)
        raise DatabaseUnavailable

    with pytest.raises(DatabaseUnavailable):
        await call(meter, me, asked(command), work)

    (line,) = await lines(records, me)
    assert (line.prompt_tokens, line.completion_tokens, line.delivery) == (1000, 100, Delivery.RETRIED)
    assert await records.usage.settle(me, command.workflow_id) == 0


async def test_a_reply_that_was_written_down_stays_so_when_the_acknowledgement_is_lost(
    records: Records, me: Principal, meter: Meter, command: Command
) -> None:
    async def commit() -> None:
        async with meter.call(me, asked(command)) as opened:
            await records.answer(me, command, opened.answered("model-1", 90, 10))
            raise DatabaseUnavailable

    with pytest.raises(DatabaseUnavailable):
        await commit()

    assert [line.delivery for line in await lines(records, me)] == [Delivery.DELIVERED]
    assert await records.usage.settle(me, command.workflow_id) == 100


async def test_the_call_of_a_worker_that_died_is_listed_when_its_run_is_settled(
    records: Records, me: Principal, meter: Meter, command: Command
) -> None:
    await records.usage.record(me, [Call(asked(command), PRICES, prompt_tokens=6).opened()])

    assert await records.usage.settle(me, command.workflow_id) == 0

    (line,) = await lines(records, me)
    assert (line.prompt_tokens, line.completion_tokens, line.delivery) == (6, 0, Delivery.RETRIED)


async def test_a_reply_that_comes_after_its_run_was_settled_still_counts(
    records: Records, me: Principal, meter: Meter, command: Command
) -> None:
    async with meter.call(me, asked(command)) as opened:
        await records.usage.settle(me, command.workflow_id)
        await meter.record(me, opened.answered("model-1", 90, 10))

    assert [line.delivery for line in await lines(records, me)] == [Delivery.DELIVERED]
    assert await records.usage.settle(me, command.workflow_id) == 100


async def cancelled(meter: Meter, me: Principal, about: Asked, details: ActivityCancellationDetails) -> None:
    """Cancel a call in the middle of its reply."""
    environment = ActivityEnvironment()
    speaking = asyncio.Event()

    async def work() -> None:
        async with meter.call(me, about) as opened:
            opened.hear("Two words")
            speaking.set()
            await asyncio.Event().wait()

    running = asyncio.ensure_future(environment.run(work))
    await speaking.wait()
    environment.cancel(details)
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_who_cancels_pays_for_what_was_said(
    records: Records, me: Principal, meter: Meter, command: Command
) -> None:
    await cancelled(meter, me, asked(command), ActivityCancellationDetails(cancel_requested=True))

    (line,) = await lines(records, me)
    assert (line.prompt_tokens, line.completion_tokens, line.delivery) == (6, 3, Delivery.ESTIMATED)
    after = await month(records, me)
    assert (after.used, after.reserved) == (9, 0)


@pytest.mark.parametrize("why", ["worker_shutdown", "timed_out", "not_found"])
async def test_nobody_pays_for_a_call_that_we_cut_off_ourselves(
    records: Records, me: Principal, meter: Meter, command: Command, why: str
) -> None:
    await cancelled(meter, me, asked(command), ActivityCancellationDetails(**{why: True}))

    assert [line.delivery for line in await lines(records, me)] == [Delivery.RETRIED]
    assert await records.usage.settle(me, command.workflow_id) == 0


async def test_a_free_call_is_written_down_by_whoever_uses_its_reply_only(
    records: Records, me: Principal, meter: Meter, command: Command
) -> None:
    with pytest.raises(ProviderMalformed):
        await call(meter, me, asked(command, billable=False), say("Some words", ProviderMalformed()))
    async with meter.call(me, asked(command, billable=False)) as opened:
        await meter.record(me, opened.answered("model-1", 90, 10))

    (line,) = await lines(records, me)
    assert (line.billable, line.cost) == (False, None)
    assert await records.usage.settle(me, command.workflow_id) == 0


async def test_a_ledger_that_goes_away_hides_no_error_of_the_call(me: Principal) -> None:
    class Away:
        async def record(self, principal: Principal, calls: Sequence[ProviderCall]) -> None:
            if calls[0].delivery is not Delivery.OPEN:
                raise DatabaseUnavailable

    with pytest.raises(ProviderMalformed):
        await call(Meter(Away(), WordTokenizer(), PRICES), me, asked(None), say("Some words", ProviderMalformed()))  # type: ignore[arg-type]
