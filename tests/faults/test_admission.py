"""What was promised with 202 is done once, whatever dies between the promise and the work."""

import asyncio
import subprocess
import sys
import time

import pytest

from domain.names import new_id
from tests.faults.client import Client, document, joined, login
from tests.faults.world import World, alive, assert_world, struck

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

full = pytest.mark.faults
LOCK = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
database.execute("ROLLBACK")
"""


@pytest.mark.parametrize("point", ["engine.start.before", pytest.param("engine.start.after", marks=full)])
@pytest.mark.parametrize("work", ["question", pytest.param("upload", marks=full)])
async def test_an_api_killed_around_the_start_is_asked_again_with_the_key(
    point: str, work: str, world: World, client: Client
) -> None:
    """A09: before the start, and after it before the reply."""
    world.stack.arm(f"{point}=kill*1")
    if work == "question":
        await client.answered(await client.ask("Is it promised?"))
    else:
        await client.ready(await client.upload())

    assert any(one.outcome == "unknown" and one.what.startswith("POST") for one in world.log.operations)
    await assert_world(world, client)


@full
async def test_an_api_killed_during_a_wait_loses_nothing(world: World, client: Client) -> None:
    """A09: while somebody waits."""
    world.stack.provider.manners.latency = 3
    question = await client.ask("Is it promised?")
    waiting = asyncio.create_task(
        client.send("GET", f"/api/v1/runs/{question.workflow_id}", params={"wait": 30}), name="waiting"
    )
    await asyncio.sleep(0.5)
    world.nemesis.kill("api")

    assert await waiting is None
    world.stack.provider.manners.latency = 0
    await client.answered(question)
    await assert_world(world, client)


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=[full, pytest.mark.timeout(900)])])
async def test_a_killed_temporal_forgets_no_acknowledged_start(kills: int, world: World, client: Client) -> None:
    """A11."""
    working = asyncio.create_task(mixed(client))
    for _ in range(kills):
        await asyncio.sleep(1.5)
        pid = world.nemesis.kill("temporal")
        await world.nemesis.gone("temporal", pid)
        await world.nemesis.ready("temporal")
    opened = time.monotonic()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)

    runs = [one.workflow_id for one in (*client.uploads, *client.questions)]
    states = {run["state"] for run in await asyncio.gather(*(client.finished(run) for run in runs))}

    took = time.monotonic() - opened
    print(f"  {len(runs)} runs in flight or done, all ended {took:.1f} s after the last restart")
    assert states == {"succeeded"}
    assert took < 30 + kills
    await assert_world(world, client)


@pytest.mark.parametrize("hangs", [4.0, pytest.param(15.0, marks=full)])
async def test_a_temporal_that_hangs_is_503_within_three_seconds(hangs: float, world: World, client: Client) -> None:
    """A12."""
    world.nemesis.stop("temporal")
    name, probe, text = document(client.canary, 4)
    key = new_id()
    began = time.monotonic()
    response = await client.send("POST", "/api/v1/documents", files={"file": (name, text)}, key=key)
    took = time.monotonic() - began
    assert response is not None
    assert (response.status_code, response.json()["code"]) == (503, "dependency_unavailable")
    assert took < 3.2
    promised = response.json()["run"]
    await asyncio.sleep(max(0, hangs - took))
    world.nemesis.resume("temporal")

    again = await client.surely("POST", "/api/v1/documents", files={"file": (name, text)}, key=key)
    run = again.json()
    assert (again.status_code, run["workflow_id"]) == (202, promised)
    client.keep(name, probe, run)
    await client.finished(promised)
    await assert_world(world, client)


async def test_without_temporal_the_api_lives_reads_and_lets_in(world: World, client: Client) -> None:
    """A13."""
    upload = await client.upload()
    await client.ready(upload)
    await world.stack.proxies["temporal"].refuse()

    began = time.monotonic()
    while (unready := await alive(world, "/readyz")).status_code == 200:
        assert time.monotonic() - began < 5
        await asyncio.sleep(0.2)
    assert unready.json()["down"] == ["temporal"]
    assert (await alive(world, "/healthz")).status_code == 200
    await login(client)
    for path in ("/documents", f"/documents/{upload.document_id}", f"/runs/{upload.workflow_id}", "/usage"):
        response = await client.send("GET", f"/api/v1{path}")
        assert response is not None
        assert response.status_code == 200, path
    found = await client.search(upload.probe)
    assert found is not None
    assert found.status_code == 200

    await assert_world(world, client)


async def test_fifty_equal_requests_at_once_are_one_run(world: World, client: Client) -> None:
    """A35."""
    key, body = new_id(), {"message": f"Once, please. {client.canary}", "use_rag": False}
    replies = await asyncio.gather(*(client.surely("POST", "/api/v1/chat", json=body, key=key) for _ in range(50)))

    runs = {reply.json()["workflow_id"] for reply in replies}
    assert {reply.status_code for reply in replies} == {202}
    assert len(runs) == 1
    question = await client.ask("Once, please.", key=key)
    await client.answered(question)
    assert len(world.stack.provider.calls) == 1
    await assert_world(world, client)


async def test_a_key_is_for_one_request_of_one_account(world: World, client: Client) -> None:
    """A36."""
    other = await joined(world.stack.api_url, world.log)
    world.stack.provider.manners.latency = 1
    key = new_id()
    question = await client.ask("The first.", key=key)
    client.questions.pop()

    in_flight = await client.ask("The first.", key=key)
    another = await client.send("POST", "/api/v1/chat", json={"message": "The second.", "use_rag": False}, key=key)
    theirs = await other.ask("The first.", key=key)
    long = await client.send("POST", "/api/v1/chat", json={"message": "Long.", "use_rag": False}, key="k" * 256)

    world.stack.provider.manners.latency = 0
    assert in_flight.workflow_id == question.workflow_id
    assert another is not None
    assert (another.status_code, another.json()["code"]) == (409, "idempotency_key_reused")
    assert theirs.workflow_id != question.workflow_id
    assert long is not None
    assert long.status_code == 422
    await assert_world(world, client, other)
    await other.http.aclose()


async def test_the_same_bytes_without_a_key_are_one_document(world: World, client: Client) -> None:
    """A37."""
    name, probe, text = document(client.canary, 4)
    replies = [await client.send("POST", "/api/v1/documents", files={"file": (name, text)}) for _ in range(2)]

    first, again = (reply.json() for reply in replies if reply)
    assert [reply.status_code for reply in replies if reply] == [202, 200]
    assert again == {"document_id": first["document_id"], "duplicate": True}
    client.keep(name, probe, first)
    await client.finished(first["workflow_id"])
    await assert_world(world, client)


@pytest.mark.parametrize(
    ("step", "seconds"),
    [
        ("embed", 5),
        pytest.param("parse", 10, marks=full),
    ],
)
async def test_a_locked_database_is_503_and_steps_try_again(
    step: str, seconds: int, world: World, client: Client
) -> None:
    """A50."""
    await client.answered(await client.ask("Are you warm?"))  # the API's first question waits for the tokenizer
    world.stack.arm(f"documents.{step}.before=delay:1*1")
    upload = await client.upload()
    await struck(world)
    lock = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LOCK, str(world.stack.home / "moorage.db"), str(seconds)), stdout=subprocess.PIPE
    )
    assert lock.stdout is not None
    assert await lock.stdout.readline() == b"locked\n"

    began = time.monotonic()
    refused = await client.send("POST", "/api/v1/chat", json={"message": "Now?", "use_rag": False}, key=new_id())
    assert refused is not None
    assert (refused.status_code, refused.json()["code"]) == (503, "dependency_unavailable")
    assert time.monotonic() - began < 3.2
    await lock.wait()

    await client.ready(upload)
    await assert_world(world, client)


async def mixed(client: Client) -> None:
    """Uploads and questions, one after the other, until cancelled."""
    while True:
        await asyncio.shield(client.upload())
        await asyncio.shield(client.ask("What came in?"))
        await asyncio.sleep(0.2)
