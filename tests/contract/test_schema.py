"""Contract of the migrations, on both databases: forward, back, together, and what the code expects."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from domain.errors import DatabaseUnavailable, Internal
from infra.sql.database import Database
from infra.sql.schema import MIGRATIONS, upgrade
from infra.sql.tables import metadata, tenants
from tests.contract.records import Records

REVISIONS = [script.revision for script in reversed(list(ScriptDirectory(str(MIGRATIONS)).walk_revisions()))]


@pytest.fixture
async def server(empty_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(empty_url)
    yield engine
    await engine.dispose()


async def migrate(engine: AsyncEngine, revision: str, *, back: bool = False) -> None:
    def run(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        (command.downgrade if back else command.upgrade)(config, revision)

    async with engine.begin() as connection:
        await connection.run_sync(run)


async def differences(engine: AsyncEngine) -> list[object]:
    """Between the database and the code."""

    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    async with engine.connect() as connection:
        return await connection.run_sync(compare)


async def tables(engine: AsyncEngine) -> set[str]:
    async with engine.connect() as connection:
        return set(await connection.run_sync(lambda c: inspect(c).get_table_names()))


async def test_the_migrations_make_exactly_the_tables_of_the_code(empty_url: str, server: AsyncEngine) -> None:
    await upgrade(empty_url)

    assert await differences(server) == []


@pytest.mark.parametrize("revision", REVISIONS)
async def test_every_older_schema_is_brought_up_to_date(empty_url: str, server: AsyncEngine, revision: str) -> None:
    await migrate(server, revision)

    await upgrade(empty_url)

    assert await differences(server) == []


async def test_the_migrations_go_back_one_by_one_and_forward_again(empty_url: str, server: AsyncEngine) -> None:
    await upgrade(empty_url)

    for _ in REVISIONS:
        await migrate(server, "-1", back=True)
    left = await tables(server)
    await upgrade(empty_url)

    assert left == {"alembic_version"}
    assert await differences(server) == []


async def test_what_is_kept_survives_going_back_to_the_first_schema(empty_url: str, server: AsyncEngine) -> None:
    await upgrade(empty_url)
    database = await Database.open(empty_url)
    records = Records.over(database)
    account = await records.newcomer()
    await records.ask(account.principal, billable=True)
    await records.upload(account.principal)
    await database.close()

    await migrate(server, REVISIONS[0], back=True)
    await upgrade(empty_url)

    database = await Database.open(empty_url)
    assert await Records.over(database).accounts.account(account.principal) == account
    assert len((await Records.over(database).runs.commands(account.principal)).items) == 2
    await database.close()


async def test_upgrading_again_changes_nothing(database_url: str, records: Records) -> None:
    account = await records.newcomer()

    await upgrade(database_url)

    assert await records.accounts.account(account.principal) == account


async def test_processes_that_start_together_on_an_empty_database_all_succeed(empty_url: str) -> None:
    program = f"import asyncio; from infra.sql.schema import upgrade; asyncio.run(upgrade({empty_url!r}))"
    processes = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) for _ in range(3)]

    errors = [(await asyncio.to_thread(process.communicate, timeout=60))[1] for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0], errors


async def test_a_database_without_tables_says_what_to_do(empty_url: str) -> None:
    database = await Database.open(empty_url)

    with pytest.raises(DatabaseUnavailable, match="moorage migrate"):
        async with database.read() as connection:
            await connection.execute(select(tenants.c.id))

    await database.close()


async def test_a_schema_newer_than_the_program_is_refused_and_left_alone(empty_url: str) -> None:
    await upgrade(empty_url)
    database = await Database.open(empty_url)
    async with database.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(Internal, match=r"9999.*newer"):
        await upgrade(empty_url)

    async with database.read() as connection:
        assert (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one() == "9999"
    await database.close()
