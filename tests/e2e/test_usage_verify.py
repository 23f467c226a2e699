"""`moorage usage verify` as the operator types it, against stores that a home's env file names."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from domain.accounts import Principal
from domain.names import new_id
from domain.usage import Delivery, Purpose, month_of
from infra.sql.database import Database
from infra.sql.tables import budgets, commands
from infra.stack.addresses import Addresses
from infra.stack.envfile import EnvFile
from tests.contract.records import ANSWER, ASK, a_call
from tests.platform import Platform, User, platform


@pytest.fixture
async def running(tmp_path: Path, addresses: Addresses) -> AsyncIterator[Platform]:
    """Nobody works on what is admitted."""
    async with platform(tmp_path, addresses, work=False) as found:
        where = {"MOORAGE_TEMPORAL_ADDRESS": found.services.settings.temporal_address}
        EnvFile(tmp_path / "env").write({**addresses.environment(), **where})
        yield found


@pytest.fixture
async def database(running: Platform) -> AsyncIterator[Database]:
    database = await Database.open(running.services.settings.database)
    yield database
    await database.close()


async def verify(home: Path, *words: str) -> tuple[int, str]:
    """Exit code and standard output."""
    command = [str(Path(sys.executable).with_name("moorage")), "usage", "verify", "--home", str(home), *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOORAGE_")}
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env=environment, cwd=home.parent
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def answered(running: Platform, database: Database, user: User) -> Principal:
    """A turn of 100 tokens that ended two minutes ago and is settled."""
    services, principal = running.services, Principal(user.tenant, user.account)
    command = await services.admissions.admit_turn(principal, replace(ASK, billable=True), None, "digest")
    turn = await services.turns.turn_of_run(principal, command.workflow_id)
    await services.turns.commit_answer(principal, turn, ANSWER, [a_call(command)])
    await services.usage.settle(principal, command.workflow_id)
    async with database.write() as connection:
        ended = datetime.now(UTC) - timedelta(minutes=2)
        await connection.execute(update(commands).values(finished_at=ended))
    return principal


async def test_it_says_what_differs_and_mends_it(running: Platform, database: Database, tmp_path: Path) -> None:
    user, month = await running.user(), month_of(datetime.now(UTC))
    principal = await answered(running, database, user)
    await running.user()
    clean = await verify(tmp_path)

    lost = datetime.now(UTC) - timedelta(hours=2)
    search = a_call(
        await running.services.admissions.admit_turn(principal, ASK, None, "digest"),
        op_id=new_id(),
        workflow_id=None,
        purpose=Purpose.EMBEDDING,
        delivery=Delivery.OPEN,
        at=lost,
    )
    await running.services.usage.record(principal, [search])
    async with database.write() as connection:
        await connection.execute(update(budgets).values(used=7))
    reported, told = await verify(tmp_path), await verify(tmp_path, "--json")
    of_another = await verify(tmp_path, "--tenant", (await running.user()).tenant)
    mended, afterwards = await verify(tmp_path, "--repair"), await verify(tmp_path, "--tenant", user.tenant)

    assert clean == (0, "2 tenants, 1 months, 1 runs, 1 calls compared: nothing differs.\n")
    assert reported[0] == 1
    assert reported[1].splitlines()[:2] == [
        f"call_open  {user.tenant}  {search.op_id}  {user.account}",
        f"month_used  {user.tenant}  {month}  {user.account}  7 instead of 100",
    ]
    assert told[0] == 1
    facts = json.loads(told[1])
    assert (facts["found"], facts["repaired"]) == ({"call_open": 1, "month_used": 1}, {})
    assert [(each["expected"], each["found"]) for each in facts["findings"]] == [(None, None), (100, 7)]
    assert of_another == (0, "1 tenants, 0 months, 0 runs, 0 calls compared: nothing differs.\n")
    assert mended[0] == 0
    assert mended[1].splitlines()[1] == f"{reported[1].splitlines()[1]}  repaired"
    assert mended[1].endswith("compared; repaired: 1 of 1 call_open, 1 of 1 month_used.\n")
    assert afterwards[0] == 0
    assert afterwards[1].endswith(", 1 runs, 2 calls compared: nothing differs.\n")


async def test_an_unknown_tenant_and_a_store_that_is_away_are_no_clean_ledger(
    running: Platform, tmp_path: Path, closed_port: int
) -> None:
    unknown = await verify(tmp_path, "--tenant", new_id())
    EnvFile(tmp_path / "env").write({"MOORAGE_DATABASE_URL": f"postgresql+asyncpg://u:p@127.0.0.1:{closed_port}/m"})
    away = await verify(tmp_path)

    assert (unknown, away) == ((2, ""), (2, ""))
