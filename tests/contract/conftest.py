"""A database as the migrations make it, on SQLite and on Postgres, and the records over it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain.accounts import Account, Principal
from infra.sql.database import Database
from infra.sql.schema import upgrade
from tests.contract.records import Records
from tests.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> str:
    """Every test of a database runs on both."""
    return str(request.param)


@pytest.fixture
async def empty_url(engine: str, tmp_path: Path, postgres: Postgres) -> str:
    """A database without tables."""
    return f"sqlite+aiosqlite:///{tmp_path / 'moorage.db'}" if engine == "sqlite" else await postgres.empty()


@pytest.fixture
async def database_url(engine: str, tmp_path: Path, postgres: Postgres) -> str:
    if engine == "postgres":
        return await postgres.migrated()
    url = f"sqlite+aiosqlite:///{tmp_path / 'moorage.db'}"
    await upgrade(url)
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await Database.open(database_url)
    yield database
    await database.close()


@pytest.fixture
def records(database: Database) -> Records:
    return Records.over(database)


@pytest.fixture
async def account(records: Records) -> Account:
    """The owner of a tenant of its own."""
    return await records.newcomer()


@pytest.fixture
def me(account: Account) -> Principal:
    return account.principal


@pytest.fixture
async def elsewhere(records: Records) -> Principal:
    """An account of another tenant."""
    return (await records.newcomer()).principal
