"""More questions than can be answered: who asks too many is asked to come back, and nobody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx

from api.admission import PATIENCE, Admission
from api.app import create_app
from domain import names
from domain.accounts import Principal
from domain.ports import Engine
from domain.runs import Launch
from tests.platform import Platform, StartPlatform, User
from workflows.worker import worker

MOST = 4
CROWD = 40


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


async def test_a_question_does_not_wait_for_another_tenants_crowd(start_platform: StartPlatform) -> None:
    async with start_platform("fair", work=False, chat_backlog=0) as fair:
        crowd, other = await fair.user(), await fair.user()
        for _ in range(CROWD):
            await ask(crowd)
        asked = [(await ask(other)).json()["workflow_id"] for _ in range(3)]

        async with worker(fair.client, fair.services, names.CHAT_QUEUE):
            await asyncio.gather(*map(other.finished, asked))
            runs = (await crowd.http.get("/api/v1/runs?limit=100")).json()["items"]

        assert len([run for run in runs if run["state"] in {"queued", "running"}]) > CROWD / 2


# --- a crowd before the door ------------------------------------------------------------------------------------------


class Held:
    """Engine. Starts of this tenant's ingestions wait until they are let go."""

    def __init__(self, engine: Engine, tenant: str) -> None:
        self.reached, self.free = asyncio.Event(), asyncio.Event()
        self.waiting = 0
        self._engine = engine
        self._tenant = tenant

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def start(self, principal: Principal, launch: Launch) -> str:
        if principal.tenant == self._tenant and launch.queue == names.DOCUMENTS_QUEUE:
            self.waiting += 1
            self.reached.set()
            await self.free.wait()
        return await self._engine.start(principal, launch)


@asynccontextmanager
async def crowded(
    platform: Platform, *users: User, patience: float = PATIENCE
) -> AsyncIterator[tuple[Held, list[httpx.AsyncClient]]]:
    """One API, before whose engine the first user's uploads are held up; a client for each of them."""
    held = Held(platform.services.engine, users[0].tenant)
    services = replace(platform.services, engine=held)
    app = create_app(services)
    app.state.admission = Admission(services, patience)
    transport = httpx.ASGITransport(app)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(transport=transport, base_url="http://moorage.test", headers=user.http.headers)
            )
            for user in users
        ]
        try:
            yield held, clients
        finally:
            held.free.set()


async def upload(http: httpx.AsyncClient, number: int) -> httpx.Response:
    return await http.post("/api/v1/documents", files={"file": (f"{number}.txt", f"Berth {number} is free.".encode())})


async def test_a_tenants_uploads_wait_for_each_other_and_nobody_elses(quiet: Platform) -> None:
    crowd, other = await quiet.user(), await quiet.user()
    async with crowded(quiet, crowd, other) as (held, (mine, theirs)):
        uploads = [asyncio.create_task(upload(mine, number)) for number in range(5)]
        await asyncio.wait_for(held.reached.wait(), 5)

        asked = await mine.post("/api/v1/chat", json={"message": "When does the lock open?"})
        let_in = [asked, await upload(theirs, 6)]

        assert (held.waiting, [reply.status_code for reply in let_in]) == (1, [202, 202])
        held.free.set()
        assert {reply.status_code for reply in await asyncio.gather(*uploads)} == {202}


async def test_an_upload_that_finds_no_room_is_told_so_and_leaves_nothing(quiet: Platform) -> None:
    crowd = await quiet.user()
    blobs, principal = quiet.services.erasable["blobs"], Principal(crowd.tenant, crowd.account)
    async with crowded(quiet, crowd, patience=0.3) as (held, (mine,)):
        first = asyncio.create_task(upload(mine, 1))
        await asyncio.wait_for(held.reached.wait(), 5)
        before = await blobs.total(principal)

        refused = await upload(mine, 2)

        assert (refused.status_code, refused.json()["code"]) == (503, "dependency_unavailable")
        assert refused.headers["retry-after"] == "2"
        assert await blobs.total(principal) == before
        held.free.set()
        assert (await first).status_code == 202
        assert (await upload(mine, 2)).status_code == 202
