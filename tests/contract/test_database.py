"""Contract of the database itself, on both: transactions, and other processes."""

import asyncio
from datetime import UTC, timedelta, timezone

import pytest
from sqlalchemy import insert, select, update

from domain.errors import Internal
from infra.sql.database import Collision, Database, add_missing
from infra.sql.tables import tenants
from tests.contract.records import NOW, a_tenant


async def test_a_failed_block_leaves_nothing_behind(database: Database) -> None:
    async def fail_half_way() -> None:
        async with database.write() as connection:
            await connection.execute(insert(tenants).values(**a_tenant()))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_half_way()

    async with database.read() as connection:
        assert (await connection.execute(select(tenants))).all() == []


async def test_a_value_that_must_be_unique_collides(database: Database) -> None:
    row = a_tenant()
    async with database.write() as connection:
        await connection.execute(insert(tenants).values(**row))

    with pytest.raises(Collision):
        async with database.write() as connection:
            await connection.execute(insert(tenants).values(**row))


async def test_rows_that_are_there_are_not_added_again(database: Database) -> None:
    row, other = a_tenant(), a_tenant()
    async with database.write() as connection:
        await add_missing(connection, tenants, [row])
        await add_missing(connection, tenants, [row | {"token_limit": 2}, other])
        stored = (await connection.execute(select(tenants.c.id, tenants.c.token_limit))).all()

    assert sorted(stored) == sorted([(row["id"], 1), (other["id"], 1)])


async def test_a_moment_comes_back_in_utc_to_the_microsecond(database: Database) -> None:
    seoul = NOW.astimezone(timezone(timedelta(hours=9)))
    async with database.write() as connection:
        await connection.execute(insert(tenants).values(**a_tenant(created_at=seoul)))
        stored = (await connection.execute(select(tenants.c.created_at))).scalar_one()

    assert stored == NOW
    assert stored.tzinfo is UTC


async def test_a_moment_without_a_time_zone_is_refused(database: Database) -> None:
    with pytest.raises(Internal):
        async with database.write() as connection:
            await connection.execute(insert(tenants).values(**a_tenant(created_at=NOW.replace(tzinfo=None))))


async def test_errors_quote_nothing_that_was_to_be_stored(database: Database) -> None:
    with pytest.raises(Internal) as raised:
        async with database.write() as connection:
            await connection.execute(insert(tenants).values(id="canary", token_limit=None, created_at=NOW))

    error: BaseException | None = raised.value
    while error is not None:
        assert "canary" not in str(error)
        error = error.__cause__ or error.__context__


async def test_two_writers_of_two_processes_lose_no_update(database_url: str, database: Database) -> None:
    other = await Database.open(database_url)
    async with database.write() as connection:
        await connection.execute(insert(tenants).values(**a_tenant(token_limit=0)))

    async def add_one(to: Database) -> None:
        async with to.write() as connection:
            limit = (await connection.execute(select(tenants.c.token_limit).with_for_update())).scalar_one()
            await connection.execute(update(tenants).values(token_limit=limit + 1))

    await asyncio.gather(*(add_one(to) for to in [database, other] * 30))

    async with other.read() as connection:
        assert (await connection.execute(select(tenants.c.token_limit))).scalar_one() == 60
    await other.close()


async def test_a_cancelled_writer_holds_up_nobody(database: Database) -> None:
    inside = asyncio.Event()

    async def write_and_wait() -> None:
        async with database.write() as connection:
            await connection.execute(insert(tenants).values(**a_tenant()))
            inside.set()
            await asyncio.Event().wait()

    stuck = asyncio.create_task(write_and_wait())
    await inside.wait()
    stuck.cancel()
    await asyncio.wait([stuck])

    async with database.write() as connection:
        assert (await connection.execute(select(tenants))).all() == []


async def test_writers_cancelled_at_every_moment_leave_the_database_usable(database: Database) -> None:
    async def write() -> None:
        async with database.write() as connection:
            for _ in range(3):
                await connection.execute(insert(tenants).values(**a_tenant()))
                await connection.execute(select(tenants))

    for turns_of_the_loop in range(40):
        task = asyncio.create_task(write())
        for _ in range(turns_of_the_loop):
            await asyncio.sleep(0.0005)
        task.cancel()
        await asyncio.wait([task])

    async with database.write() as connection:
        rows = (await connection.execute(select(tenants))).all()
    assert len(rows) % 3 == 0
