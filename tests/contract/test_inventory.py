"""Contract of Inventory: what the operator reads of every tenant, and of one tenant's every account."""

import pytest

from domain.accounts import Account, Principal
from domain.names import new_id
from domain.ports import Inventory
from domain.reconcile import LiveVersion
from domain.runs import Outcome, State
from infra.sql.database import Database
from infra.sql.reconcile import SqlInventory
from tests.contract.records import GENERATION, Records


@pytest.fixture
def inventory(database: Database) -> Inventory:
    return SqlInventory(database)


@pytest.fixture
def anybody(account: Account) -> Principal:
    """The tenant without an account of it."""
    return Principal(account.tenant_id, account="")


async def test_tenants_are_listed_in_pages(records: Records, inventory: Inventory) -> None:
    known = sorted([(await records.newcomer()).tenant_id for _ in range(3)])

    assert await inventory.tenants("", 2) == known[:2]
    assert await inventory.tenants(known[1], 2) == known[2:]
    assert await inventory.tenants(known[2], 2) == []


async def test_generations_are_those_of_collections_and_versions(
    records: Records, inventory: Inventory, me: Principal, anybody: Principal, elsewhere: Principal
) -> None:
    await records.upload(me)

    assert await inventory.generations(anybody) == [GENERATION.name]
    assert await inventory.generations(elsewhere) == []


async def test_live_versions_are_listed_in_pages_with_their_chunks(
    records: Records, inventory: Inventory, me: Principal, anybody: Principal, elsewhere: Principal
) -> None:
    await records.upload(me)
    live = [await records.upload(me) for _ in range(3)]
    for command in live:
        await records.publish(me, command, chunks=4)

    first = await inventory.live(anybody, limit=2, cursor=None)
    second = await inventory.live(anybody, limit=2, cursor=first.next_cursor)

    expected = [LiveVersion(f"{command.document_id}:1", GENERATION.name, 4) for command in reversed(live)]
    assert first.items + second.items == expected
    assert second.next_cursor is None
    assert (await inventory.live(elsewhere, limit=2, cursor=None)).items == []


async def test_a_version_stands_as_its_run_left_it(
    records: Records, inventory: Inventory, me: Principal, anybody: Principal, elsewhere: Principal
) -> None:
    running, live, failed = [await records.upload(me) for _ in range(3)]
    await records.publish(me, live)
    await records.runs.close(me, failed.workflow_id, Outcome(State.FAILED, "no_text", "parse"))
    keys = {f"{command.document_id}:1" for command in (running, live, failed)}

    found = await inventory.standings(anybody, {*keys, f"{live.document_id}:2", f"{new_id()}:1"})

    assert found.keys() == keys
    of_running, of_live, of_failed = [found[f"{command.document_id}:1"] for command in (running, live, failed)]
    assert (of_running.live, of_running.quiet_since) == (False, None)
    assert of_live.live
    assert not of_failed.live and of_failed.quiet_since is not None
    assert of_failed.workflow_id == failed.workflow_id
    assert await inventory.standings(elsewhere, keys) == {}
