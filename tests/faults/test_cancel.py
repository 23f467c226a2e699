"""A cancelled ingestion leaves its original and nothing else, whichever step it was in, and can be replayed."""

import asyncio
import time

import pytest

from tests.faults.client import Client, Upload
from tests.faults.world import World, assert_world, struck

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

LONG = 150  # sentences: some twenty chunks
WITHIN = 10.0  # seconds from the cancel until nothing is left
full = pytest.mark.faults


@pytest.mark.parametrize("step", ["publish", *(pytest.param(one, marks=full) for one in ("parse", "embed", "index"))])
async def test_an_ingestion_cancelled_in_any_step_leaves_its_original_only(
    step: str, world: World, client: Client
) -> None:
    """A38: twice, in every step; then replayed, then finished."""
    world.stack.arm(f"documents.{step}.before=delay:20*1")
    upload = await client.upload(sentences=LONG)
    await struck(world)

    began = time.monotonic()
    answers = [await post(client, upload, "cancel") for _ in range(2)]
    run = await client.finished(upload.workflow_id, WITHIN)
    await left(world, client, upload, {"original"}, WITHIN - (time.monotonic() - began))

    assert (answers, run["state"]) == ([202, 202], "cancelled")
    print(f"  {step}: nothing but the original left after {time.monotonic() - began:.1f} s")
    assert await post(client, upload, "replay") == 202
    await client.ready(upload)
    assert await post(client, upload, "cancel") == 409
    await assert_world(world, client)


async def post(client: Client, upload: Upload, verb: str) -> int:
    response = await client.send("POST", f"/api/v1/runs/{upload.workflow_id}/{verb}")
    assert response is not None
    return response.status_code


async def left(world: World, client: Client, upload: Upload, names: set[str], seconds: float) -> None:
    """Only these blobs, and no chunk in the index."""
    folder = world.stack.home / "blobs" / client.tenant / upload.document_id / "1"
    async with asyncio.timeout(seconds):
        while True:
            chunks = [key for _, key in await world.stored(client).chunks() if key.startswith(upload.document_id)]
            if not chunks and {path.name for path in folder.iterdir()} == names:
                return
            await asyncio.sleep(0.1)
