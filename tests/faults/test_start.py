"""Starting is safe: twice at once on empty stores, and in any order after everything has died."""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import httpx
import pytest

from infra.settings import Settings
from infra.stack.addresses import Addresses
from infra.stack.envfile import EnvFile
from infra.stack.platform import Platform
from infra.stack.ports import Ports
from infra.stack.process import Process
from infra.stack.stores import supervised_stores
from tests.faults.client import Client, joined
from tests.faults.oplog import OpLog
from tests.faults.stack import SPARES, STORES
from tests.faults.world import World, assert_world

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(300)]

GROUPS = {"stores": STORES, "api": ("api",), "workers": (*SPARES, *SPARES.values())}
APART = 2.0  # seconds between two groups


@pytest.mark.parametrize("order", list(permutations(GROUPS)), ids="-".join)
async def test_everything_killed_comes_back_in_any_order(order: tuple[str, ...], world: World, client: Client) -> None:
    """A48."""
    known = await client.upload()
    await client.ready(known)
    await client.upload()
    await client.ask("Are you still there?")

    await world.nemesis.all_down([name for names in GROUPS.values() for name in names])
    starts = []
    for group in order:
        starts += [asyncio.create_task(world.nemesis.insist(name, 120)) for name in GROUPS[group]]
        await asyncio.sleep(APART)
    began = time.monotonic()
    await asyncio.gather(*starts)

    print(f"  {' '.join(order)}: all ready {time.monotonic() - began:.1f} s after the last was started")
    await assert_world(world, client)


async def test_two_replicas_start_at_once_on_empty_stores(tmp_path: Path) -> None:
    """A47."""
    home = tmp_path / "home"
    async with supervised_stores(home, Settings(_env_file=None).cache) as (addresses, supervisor):
        first, second = (replica(home, number, addresses) for number in (1, 2))
        await asyncio.gather(*(supervisor.run(each.migrate()) for each in (first, second)))
        processes = [*numbered(first, 1), *numbered(second, 2)]
        await supervisor.start(processes)

        assert [status.restarts for status in supervisor.statuses()] == [0] * (len(STORES) + len(processes))
        client = await joined(first.api_url, OpLog(0))
        assert (await httpx.AsyncClient(trust_env=False).get(f"{second.api_url}/readyz")).status_code == 200
        await client.http.aclose()
    with closing(sqlite3.connect(home / "moorage.db")) as database:
        assert database.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)


def replica(home: Path, number: int, addresses: Addresses) -> Platform:
    """Another set of our processes over the same stores and the same home."""
    ports = Ports(home / f"replica-{number}.json")
    return Platform(Settings(_env_file=None, home=home), home, ports, EnvFile(home / "env"), addresses)


def numbered(platform: Platform, number: int) -> Iterator[Process]:
    for process in platform.processes():
        if process.name != "worker-chat":
            yield replace(process, name=f"{process.name}-{number}")
