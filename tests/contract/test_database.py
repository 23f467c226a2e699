"""Contract of the database itself: schema, transactions, deadlines, and other processes."""

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, event, insert, inspect, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from domain.errors import DatabaseUnavailable, Internal
from domain.names import new_id
from infra.sql import database as sql
from infra.sql.database import Collision, Database, add_missing
from infra.sql.schema import MIGRATIONS, upgrade
from infra.sql.tables import metadata, tenants
from tests.contract.records import Records

NOW = datetime(2026, 1, 31, 23, 59, 58, 123456, tzinfo=UTC)


def a_tenant(**fields: object) -> dict[str, object]:
    return {"id": new_id(), "token_limit": 1, "created_at": NOW, **fields}


async def test_the_migrations_make_exactly_the_tables_of_the_code(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    async with database.read() as connection:
        found = await connection.run_sync(differences)

    assert found == []


def test_postgres_would_take_the_same_tables() -> None:
    dialect = postgresql.dialect()

    ddl = [str(CreateTable(table).compile(dialect=dialect)) for table in metadata.sorted_tables]
    ddl += [str(CreateIndex(index).compile(dialect=dialect)) for t in metadata.sorted_tables for index in t.indexes]

    assert any("TIMESTAMP WITH TIME ZONE" in statement for statement in ddl)
    assert max(len(item.name or "") for t in metadata.sorted_tables for item in [*t.indexes, *t.constraints]) <= 63


async def test_a_postgres_address_opens_without_connecting() -> None:
    database = await Database.open("postgresql+asyncpg://moorage@127.0.0.1:1/moorage")

    with pytest.raises(DatabaseUnavailable):
        await database.ping()

    await database.close()


async def test_upgrading_again_changes_nothing(database_url: str, records: Records) -> None:
    account = await records.newcomer()

    await upgrade(database_url)

    assert await records.accounts.account(account.principal) == account


async def test_the_newest_migration_goes_back_and_forth(database_url: str, database: Database) -> None:
    def tables(connection: Connection) -> set[str]:
        return set(inspect(connection).get_table_names())

    def back(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")

    async with database.write() as connection:
        await connection.run_sync(back)
        older = await connection.run_sync(tables)
    await upgrade(database_url)

    async with database.read() as connection:
        newer = await connection.run_sync(tables)
    assert newer - older == {"api_keys", "invites", "audit"}


async def test_processes_that_start_together_on_an_empty_database_all_succeed(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'new' / 'moorage.db'}"
    program = f"import asyncio; from infra.sql.schema import upgrade; asyncio.run(upgrade({url!r}))"
    processes = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) for _ in range(2)]

    errors = [(await asyncio.to_thread(process.communicate, timeout=60))[1] for process in processes]

    assert [process.returncode for process in processes] == [0, 0], errors


async def test_a_schema_newer_than_the_program_is_refused_and_left_alone(database_url: str, database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(Internal, match=r"9999.*newer"):
        await upgrade(database_url)

    async with database.read() as connection:
        assert (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one() == "9999"


async def test_a_failed_block_leaves_nothing_behind(database: Database) -> None:
    async def fail_half_way() -> None:
        async with database.write() as connection:
            await connection.execute(insert(tenants).values(**a_tenant()))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_half_way()

    async with database.read() as connection:
        assert (await connection.execute(select(tenants))).all() == []


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="READONLY"):
        async with database.read() as connection:
            await connection.execute(insert(tenants).values(**a_tenant()))


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
            limit = (await connection.execute(select(tenants.c.token_limit))).scalar_one()
            await connection.execute(update(tenants).values(token_limit=limit + 1))

    await asyncio.gather(*(add_one(to) for to in [database, other] * 30))

    async with other.read() as connection:
        assert (await connection.execute(select(tenants.c.token_limit))).scalar_one() == 60
    await other.close()


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

    for turns_of_the_loop in range(40):
        task = asyncio.create_task(write())
        for _ in range(turns_of_the_loop):
            await asyncio.sleep(0.0005)
        task.cancel()
        await asyncio.wait([task])

    async with database.write() as connection:
        rows = (await connection.execute(select(tenants))).all()
    assert len(rows) % 3 == 0


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
