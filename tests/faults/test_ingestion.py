"""Documents survive the death of their worker at every point of every step."""

import time

import pytest

from tests.faults.client import Client
from tests.faults.world import World, assert_world

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

LONG = 150  # sentences: some twenty chunks
RECOVERY = 10.0 + 10.0  # heartbeat and a retry, and the start of a worker while others use the machine
full = pytest.mark.faults


def points() -> list[object]:
    """In `make test` those at which most can go wrong."""
    small = {"embed.after", "index.during:5", "index.after", "publish.after"}
    found = []
    for step in ("parse", "embed", "index", "publish"):
        for moment in ("before", "during:5", "after"):
            point = f"{step}.{moment}"
            found.append(pytest.param(point, marks=() if point in small else full))
    return found


@pytest.mark.parametrize("point", points())
async def test_a_worker_killed_at_any_point_loses_and_doubles_nothing(point: str, world: World, client: Client) -> None:
    """A01-A05."""
    world.stack.arm(f"documents.{point}=kill*1")
    began = time.monotonic()
    upload = await client.upload(sentences=LONG)

    await client.ready(upload, RECOVERY + 30)

    print(f"  {point}: ready after {time.monotonic() - began:.1f} s, struck {world.stack.struck()} times")
    await assert_world(world, client)
