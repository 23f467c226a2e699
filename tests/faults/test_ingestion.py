"""Documents survive the death of their worker at every point of every step."""

import asyncio
import shutil
import time

import pytest

from tests.faults.client import Client
from tests.faults.stack import SPARES
from tests.faults.world import World, assert_world, idle, struck

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

LONG = 150  # sentences: some twenty chunks
RECOVERY = 10.0 + 10.0  # heartbeat and a retry, and the start of a worker while others use the machine
WORKERS = ["worker-documents", SPARES["worker-documents"]]
full = pytest.mark.faults


def points() -> list[object]:
    """In `make test` those at which most can go wrong."""
    small = {"index.during:5"}
    found = []
    for step in ("parse", "embed", "index", "publish"):
        for moment in ("before", "during:5" if step != "publish" else "during:0", "after"):
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

    assert world.stack.struck() == 1
    world.figures.resumed.append(time.monotonic() - began)
    print(f"  {point}: ready after {world.figures.resumed[-1]:.1f} s")
    await assert_world(world, client)


@pytest.mark.parametrize(
    ("uploads", "over", "every"),
    [pytest.param(15, 6.0, (2.0, 4.0)), pytest.param(300, 180.0, (2.0, 10.0), marks=[full, pytest.mark.timeout(900)])],
)
async def test_uploads_go_on_while_workers_are_killed(
    uploads: int, over: float, every: tuple[float, float], world: World, client: Client
) -> None:
    """A10."""
    killing = asyncio.create_task(world.nemesis.harass(WORKERS, every, world.log.seed))

    async def later(number: int) -> None:
        await asyncio.sleep(over * number / uploads)
        await client.upload(sentences=8)

    await asyncio.gather(*(later(number) for number in range(uploads)))
    killing.cancel()
    await asyncio.gather(*(client.finished(upload.workflow_id, 120) for upload in client.uploads))

    await assert_world(world, client)


@full
async def test_a_worker_that_is_told_to_stop_finishes_its_step(world: World, client: Client) -> None:
    """A14."""
    world.stack.arm("documents.embed.before=delay:3*1")
    upload = await client.upload()
    await struck(world)

    stopped = {name: world.nemesis.terminate(name) for name in WORKERS}
    await asyncio.gather(*(world.nemesis.gone(name, pid, seconds=20) for name, pid in stopped.items()))
    await client.ready(upload)

    histories = await world.stored(client).histories()
    assert sum(history.repeated() for history in histories) == 0
    await assert_world(world, client)


@pytest.mark.parametrize("step", ["publish", pytest.param("index", marks=full), pytest.param("embed", marks=full)])
async def test_a_step_whose_reply_is_lost_is_done_once(step: str, world: World, client: Client) -> None:
    """A51."""
    world.stack.arm(f"documents.{step}.after=raise*2")
    upload = await client.upload(sentences=LONG)

    await client.ready(upload)
    await idle(world.stored(client), 30)

    assert world.stack.struck() == 2
    assert len([call for call in world.stack.provider.calls if call.delivered]) == 1
    await assert_world(world, client)


async def test_a_batch_that_was_applied_and_not_acknowledged_is_stored_once(world: World, client: Client) -> None:
    """A24."""
    world.stack.proxies["weaviate-grpc"].lose_reply(at_least=10_000)
    before = world.stack.proxies["weaviate-grpc"].lost
    upload = await client.upload(sentences=LONG)

    await client.ready(upload)

    assert world.stack.proxies["weaviate-grpc"].lost == before + 1
    await assert_world(world, client)


async def test_a_document_waits_for_weaviate_and_goes_on(world: World, client: Client) -> None:
    """A21: the server is down."""
    async with world.nemesis.down("weaviate"):
        upload = await client.upload()
        await waiting(client, upload.workflow_id, "store_unavailable")
        await refused(client)

    await client.ready(upload)
    await assert_world(world, client)


@full
async def test_a_document_waits_for_a_weaviate_that_hangs(world: World, client: Client) -> None:
    """A21: the server is stopped, and accepts connections without a word."""
    known = await client.upload()
    await client.ready(known)
    world.nemesis.stop("weaviate")
    upload = await client.upload()
    await refused(client)
    await waiting(client, upload.workflow_id, "store_unavailable")
    world.nemesis.resume("weaviate")

    await client.ready(upload)
    await assert_world(world, client)


@pytest.mark.parametrize("fault", ["file in its place", pytest.param("gone", marks=full)])
async def test_a_document_waits_for_the_blob_store(fault: str, world: World, client: Client) -> None:
    """A53."""
    blobs, aside = world.stack.home / "blobs", world.stack.home / "blobs.aside"
    world.stack.arm("documents.embed.before=delay:2*1")
    upload = await client.upload()
    await struck(world)

    blobs.rename(aside)
    if fault != "gone":
        blobs.touch()
    try:
        await asyncio.sleep(4)
        run = await client.run(upload.workflow_id)
        assert (run["state"], run["finished_at"]) == ("waiting", None), run
        refusal = await client.send("POST", "/api/v1/documents", files={"file": ("x.txt", b"words")})
        assert refusal is not None
        assert (refusal.status_code, refusal.json()["code"]) == (503, "dependency_unavailable")
    finally:
        blobs.unlink() if blobs.is_file() else shutil.rmtree(blobs, ignore_errors=True)
        aside.rename(blobs)

    await client.ready(upload)
    await assert_world(world, client)


async def refused(client: Client) -> None:
    """A search answers 503 within 3 s."""
    began = time.monotonic()
    response = await client.search("Which berth?")
    assert response is not None
    assert (response.status_code, response.json()["code"]) == (503, "dependency_unavailable")
    assert time.monotonic() - began < 3


async def waiting(client: Client, workflow_id: str, reason: str) -> None:
    """The run says what it waits for."""
    run = {}
    for _ in range(60):
        run = await client.run(workflow_id)
        if run["state"] == "waiting":
            assert reason in run["waiting_for"]
            return
        await asyncio.sleep(0.5)
    raise AssertionError(run)
