"""More questions than can be answered: who asks too many is asked to come back, and nobody else."""

import asyncio

import httpx

from domain import names
from tests.platform import StartPlatform, User
from workflows.worker import worker

MOST = 4


async def ask(user: User) -> httpx.Response:
    return await user.http.post("/api/v1/chat", json={"message": "When does the lock open?"})


async def until(user: User, status: int) -> httpx.Response:
    """Ask again and again: an API looks at the backlog twice a second."""
    async with asyncio.timeout(20):
        while (response := await ask(user)).status_code != status:
            await asyncio.sleep(0.1)
    return response


async def test_a_tenant_has_its_share_of_the_backlog_and_is_sent_away_beyond_it(start_platform: StartPlatform) -> None:
    async with start_platform("overrun", work=False, chat_backlog=MOST) as overrun:
        crowd, other = await overrun.user(), await overrun.user()
        for _ in range(MOST):
            assert (await ask(crowd)).status_code == 202

        refused = await until(crowd, 503)
        kept = (await crowd.http.get("/api/v1/runs?limit=100")).json()["items"]
        again = await ask(crowd)
        others = [(await ask(other)).status_code for _ in range(2)]

        assert (refused.json()["code"], again.status_code) == ("dependency_unavailable", 503)
        assert "charged" in refused.json()["detail"]
        assert 2 <= int(refused.headers["retry-after"]) <= 30
        assert len((await crowd.http.get("/api/v1/runs?limit=100")).json()["items"]) == len(kept)
        assert others == [202, 202]
        async with worker(overrun.client, overrun.services, names.CHAT_QUEUE):
            assert (await until(crowd, 202)).json()["state"] in {"queued", "running", "succeeded"}


async def test_without_a_limit_everybody_is_let_in(start_platform: StartPlatform) -> None:
    async with start_platform("patient", work=False, chat_backlog=0) as patient:
        user = await patient.user()
        replies = [await ask(user) for _ in range(2 * MOST)]
        await asyncio.sleep(0.6)

        assert {reply.status_code for reply in [*replies, await ask(user)]} == {202}
