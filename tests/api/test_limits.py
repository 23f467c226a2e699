"""What people see while the provider limits us: documents wait, a search is told when to come back."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.platform import Platform, StartPlatform, User
from tests.provider.script import Fault
from tests.provider.server import ScriptedProvider


@pytest.fixture(scope="module")
async def buying(start_platform: StartPlatform, provider: ScriptedProvider) -> AsyncIterator[Platform]:
    """Embeddings come from the provider."""
    settings = {"embedder": "openai", "embedding_dimensions": 384, "openai_base_url": provider.base_url}
    async with start_platform("buying", **settings) as running:
        yield running


@pytest.fixture
async def buyer(buying: Platform) -> User:
    return await buying.user()


async def test_a_document_waits_for_the_provider_and_a_search_is_told_how_long(
    buyer: User, provider: ScriptedProvider
) -> None:
    provider.reset()
    provider.script(Fault(status=429, kind="embedding", retry_after=3))
    upload = await buyer.http.post("/api/v1/documents", files={"file": ("a.txt", b"The lock opens at six.")})
    workflow_id = upload.json()["workflow_id"]
    await provider.until(lambda calls: len(calls) == 1)

    waiting = await until_waiting(buyer, workflow_id)
    search = await buyer.http.post("/api/v1/search", json={"query": "lock"})
    run = await buyer.finished(workflow_id)

    assert waiting["waiting_for"].startswith("provider_rate_limited, next try ")
    assert (search.status_code, search.json()["code"]) == (503, "provider_rate_limited")
    assert 1 <= int(search.headers["Retry-After"]) <= 8
    assert run["state"] == "succeeded"
    assert [call.status for call in provider.calls] == [429, 200]


async def until_waiting(user: User, workflow_id: str) -> dict:
    async with asyncio.timeout(10):
        while (run := (await user.http.get(f"/api/v1/runs/{workflow_id}")).json())["state"] != "waiting":
            await asyncio.sleep(0.05)
    return run
