"""A database as the migrations make it, and the records over it. Another server is another parameter here."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain.accounts import Account, Principal
from infra.sql.database import Database
from infra.sql.schema import upgrade
from tests.contract.records import Records


@pytest.fixture(params=["sqlite+aiosqlite"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url = f"{request.param}:///{tmp_path / 'moorage.db'}"
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
