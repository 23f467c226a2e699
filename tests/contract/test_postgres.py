"""What Postgres alone promises: writers side by side, locks that are waited for, and its own refusals in our words."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from domain.accounts import Principal
from domain.errors import DatabaseUnavailable, Internal, InvalidRequest, QuotaExhausted
from domain.usage import month_of
from infra.sql.database import Database
from infra.sql.schema import LOCK, upgrade
from infra.sql.tables import budgets, commands, metadata, tenants
from tests.contract.records import Records, a_call, a_tenant
from tests.contract.test_admission_records import COST


@pytest.fixture
def engine() -> str:
    return "postgres"


@pytest.fixture
async def somebody_else(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(database_url)
    yield engine
    await engine.dispose()


async def test_an_address_opens_without_connecting(closed_port: int) -> None:
    database = await Database.open(f"postgresql+asyncpg://moorage@127.0.0.1:{closed_port}/moorage")

    with pytest.raises(DatabaseUnavailable):
        await database.ping()

    await database.close()


async def test_a_server_that_never_answers_is_unavailable_within_three_seconds(silent_port: int) -> None:
    database = await Database.open(f"postgresql+asyncpg://moorage@127.0.0.1:{silent_port}/moorage")

    with pytest.raises(DatabaseUnavailable):
        async with asyncio.timeout(3):
            await database.ping()

    await database.close()


def test_names_are_short_enough_to_be_kept_whole() -> None:
    names = [item.name or "" for t in metadata.sorted_tables for item in [*t.indexes, *t.constraints]]

    assert max(map(len, names)) <= 63


async def test_a_row_that_somebody_else_holds_is_unavailable_within_three_seconds(
    database: Database, somebody_else: AsyncEngine
) -> None:
    row = a_tenant()
    async with database.write() as connection:
        await connection.execute(insert(tenants).values(**row))

    async with somebody_else.begin() as holder:
        await holder.execute(select(tenants).with_for_update())
        with pytest.raises(DatabaseUnavailable):
            async with asyncio.timeout(3), database.write() as connection:
                await connection.execute(update(tenants).values(token_limit=2))
        await database.ping()  # readers are not held up

    async with database.write() as connection:
        await connection.execute(update(tenants).values(token_limit=3))


async def test_writers_of_different_rows_do_not_wait_for_each_other(database: Database) -> None:
    async with database.write() as first, database.write() as second:
        await first.execute(insert(tenants).values(**a_tenant()))
        await second.execute(insert(tenants).values(**a_tenant()))


async def test_a_text_with_a_nul_is_the_callers_mistake(records: Records, me: Principal) -> None:
    with pytest.raises(InvalidRequest, match="NUL"):
        await records.ask(me, message="a\0b")
    with pytest.raises(InvalidRequest, match="NUL"):
        await records.documents.document(me, "\0")


@pytest.mark.parametrize("wrong", [{"id": "canary" * 6}, {"id": "canary\ud800"}, {"token_limit": 2**70}])
async def test_a_value_that_does_not_fit_is_our_mistake_and_not_tried_again(
    database: Database, wrong: dict[str, object]
) -> None:
    with pytest.raises(Internal) as raised:
        async with database.write() as connection:
            await connection.execute(insert(tenants).values(**a_tenant(**wrong)))

    assert "canary" not in repr(raised.value.__context__)


async def test_a_server_that_drops_its_connections_is_asked_again(
    database: Database, somebody_else: AsyncEngine
) -> None:
    await database.ping()
    async with somebody_else.connect() as other:
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        await other.execute(text(f"{kill} AND pid <> pg_backend_pid()"))

    await database.ping()


async def test_an_answer_whose_commit_was_applied_and_not_heard_of_is_one_row(
    records: Records, database_url: str, me: Principal
) -> None:
    command = await records.ask(me, billable=True)
    call = a_call(command)
    await records.answer(me, command, call)

    other = await Database.open(database_url)  # the try after the reply was lost, by another worker
    again = await Records.over(other).answer(me, command, call, text="Another answer.")
    await other.close()

    assert again.answer == (await records.turn(me, command)).answer != "Another answer."
    assert await records.usage.settle(me, command.workflow_id) == 100


async def test_an_admission_waits_for_no_settlement_that_may_be_waiting_for_it(
    records: Records, somebody_else: AsyncEngine
) -> None:
    """Both lock the run first and the month then: an admission that settles several runs has done both already."""
    me = (await records.newcomer(token_limit=2 * COST)).principal
    ended = [await records.ask(me, billable=True) for _ in range(2)]
    for command in ended:
        await records.answer(me, command)

    async with somebody_else.begin() as settling:
        await settling.execute(select(commands).where(commands.c.workflow_id == ended[1].workflow_id).with_for_update())
        async with asyncio.timeout(2):
            await records.ask(me, billable=True)

    assert (await records.usage.month(me, month_of(datetime.now(UTC)))).reserved == 2 * COST


async def test_a_turn_that_is_being_settled_keeps_nobody_out(records: Records, somebody_else: AsyncEngine) -> None:
    """It is over, so that its reservation is nobody's reason to refuse."""
    me = (await records.newcomer(token_limit=COST)).principal
    ended = await records.ask(me, billable=True)
    await records.answer(me, ended)

    async with somebody_else.begin() as settling:
        await settling.execute(select(commands).where(commands.c.workflow_id == ended.workflow_id).with_for_update())
        asked = asyncio.create_task(records.ask(me, billable=True))
        await asyncio.wait([asked], timeout=0.3)

    assert (await asked).workflow_id != ended.workflow_id
    assert (await records.usage.month(me, month_of(datetime.now(UTC)))).reserved == COST


async def test_a_refusal_waits_for_no_admission_of_the_tenant(records: Records, somebody_else: AsyncEngine) -> None:
    """Else a crowd of refusals makes one queue, in which the last ones wait too long for their verdict."""
    me = (await records.newcomer(token_limit=COST)).principal
    await records.ask(me, billable=True)

    async with somebody_else.begin() as admitting:
        await admitting.execute(select(tenants).where(tenants.c.id == me.tenant).with_for_update(key_share=True))
        async with asyncio.timeout(1):
            with pytest.raises(QuotaExhausted):
                await records.ask(me, billable=True)


async def test_a_migration_waits_for_the_other_ones_lock(empty_url: str) -> None:
    engine = create_async_engine(empty_url)
    async with engine.begin() as other:
        await other.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        waiting = asyncio.create_task(upgrade(empty_url))
        await _until_somebody_waits(engine)
        still_waiting = not waiting.done()

    await waiting
    await engine.dispose()

    assert still_waiting


async def _until_somebody_waits(engine: AsyncEngine) -> None:
    while True:
        async with engine.connect() as connection:
            if (await connection.execute(text("SELECT 1 FROM pg_locks WHERE NOT granted"))).first():
                return
        await asyncio.sleep(0.02)


async def test_a_reservation_released_while_its_lost_month_is_made_anew_is_gone(
    database: Database, records: Records, me: Principal
) -> None:
    """M08: the sums of the rebuilding still know the promise, the release does not yet see the row."""
    month = month_of(datetime.now(UTC))
    command = await records.ask(me, billable=True)
    async with database.write() as connection:
        await connection.execute(delete(budgets))

    async with database.write() as rebuilding:
        row = {"account_id": me.account, "tenant_id": me.tenant, "month": month}
        await rebuilding.execute(insert(budgets).values(**row, used=0, reserved=COST))
        settling = asyncio.ensure_future(records.usage.settle(me, command.workflow_id))
        await asyncio.sleep(0.2)
    await settling

    after = await records.usage.month(me, month)
    assert (after.used, after.reserved) == (0, 0)
