"""What SQLite alone promises: one writer at a time, readers that cannot write, commits that survive a power cut."""

import asyncio
import gc
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import event, insert, text

from domain.errors import DatabaseUnavailable
from infra.sql import database as sql
from infra.sql.database import Database
from infra.sql.tables import tenants
from tests.contract.records import a_tenant


@pytest.fixture
def engine() -> str:
    return "sqlite"


@pytest.fixture
def uncollected() -> Iterator[None]:
    """The garbage collector may come minutes later."""
    gc.disable()
    yield
    gc.enable()


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="READONLY"):
        async with database.read() as connection:
            await connection.execute(insert(tenants).values(**a_tenant()))


async def test_a_database_that_somebody_else_holds_is_unavailable_within_three_seconds(
    database_url: str, database: Database
) -> None:
    loop = asyncio.get_running_loop()
    with closing(sqlite3.connect(database_url.partition("///")[2], isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        began = loop.time()

        with pytest.raises(DatabaseUnavailable):
            async with database.write():
                pass

        assert loop.time() - began < 3
        await database.ping()  # readers are not held up


async def test_a_writer_goes_on_when_the_other_one_lets_go(database_url: str, database: Database) -> None:
    begun = asyncio.Event()
    with closing(sqlite3.connect(database_url.partition("///")[2], isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")

        async def write() -> None:
            begun.set()
            async with database.write() as connection:
                await connection.execute(insert(tenants).values(**a_tenant()))

        waiting = asyncio.create_task(write())
        await begun.wait()
        await asyncio.sleep(3 * sql.BUSY_MS / 1000)  # longer than one try of the driver
        still_waiting = not waiting.done()
        holder.execute("ROLLBACK")

        await waiting

    assert still_waiting


async def test_a_commit_is_on_the_disk_before_it_is_a_promise(database: Database) -> None:
    async with database.write() as connection:
        synchronous = (await connection.execute(text("PRAGMA synchronous"))).scalar_one()
        journal = (await connection.execute(text("PRAGMA journal_mode"))).scalar_one()

    assert (synchronous, journal) == (2, "wal")


async def test_a_writing_transaction_takes_its_lock_at_the_start(database: Database) -> None:
    statements: list[str] = []
    engine = database._writer.sync_engine
    event.listen(engine, "before_cursor_execute", lambda _c, _cur, statement, *_: statements.append(statement))

    async with database.write():
        pass

    assert statements == ["BEGIN IMMEDIATE"]


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("kind", ["read", "write"])
async def test_a_statement_cancelled_while_it_reads_leaves_neither_lock_nor_snapshot(
    database_url: str, database: Database, kind: str
) -> None:
    loop, reading, go = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    async with database.write() as connection:
        await connection.execute(insert(tenants), [a_tenant(), a_tenant()])

    def wait() -> int:
        loop.call_soon_threadsafe(reading.set)
        go.wait(10)
        return 1

    async def read() -> None:
        async with getattr(database, kind)() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            await driver.create_function("wait", 0, wait)
            await connection.execute(text("SELECT wait() FROM tenants"))

    stuck = asyncio.create_task(read())
    await reading.wait()
    stuck.cancel()
    go.set()
    await asyncio.wait([stuck])

    assert stuck.cancelled()
    async with database.write() as connection:
        await connection.execute(insert(tenants).values(**a_tenant()))
    with closing(sqlite3.connect(database_url.partition("///")[2])) as other:
        busy, *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy
