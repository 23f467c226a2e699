"""More questions than can be answered: who asks too many is asked to come back, and nobody else."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from api.admission import AT_ONCE, PATIENCE, Admission
from api.app import create_app
from api.load import Load
from domain import names
from domain.accounts import Principal
from domain.errors import TemporalUnavailable
from domain.load import Backlog
from domain.ports import Engine
from domain.runs import Kind, Launch
from tests.api.serving import serving
from tests.clock import Clock
from tests.platform import Platform, StartPlatform, User, api_client
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
    """Engine. Starts of this tenant on one queue wait until they are let go."""

    def __init__(self, engine: Engine, tenant: str, queue: str) -> None:
        self.reached, self.free, self.looked = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.waiting = 0
        self._engine = engine
        self._tenant = tenant
        self._queue = queue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def start(self, principal: Principal, launch: Launch) -> str:
        if principal.tenant == self._tenant and launch.queue == self._queue:
            self.waiting += 1
            self.reached.set()
            await self.free.wait()
        return await self._engine.start(principal, launch)

    async def backlog(self, queue: str) -> Backlog:
        backlog = await self._engine.backlog(queue)
        self.looked.set()
        return backlog


@asynccontextmanager
async def crowded(
    platform: Platform,
    *users: User,
    patience: float = PATIENCE,
    queue: str = names.DOCUMENTS_QUEUE,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[tuple[Held, list[httpx.AsyncClient]]]:
    """One API, before whose engine the first user's work is held up; a client for each of them."""
    held = Held(platform.services.engine, users[0].tenant, queue)
    services = replace(platform.services, engine=held)
    app = create_app(services)
    app.state.admission = Admission(services, Load(services, clock), patience)
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


async def until_waiting(held: Held, many: int) -> None:
    async with asyncio.timeout(10):
        while held.waiting < many:
            await asyncio.sleep(0.02)


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


async def test_who_repeats_a_request_with_its_key_does_not_wait_again(quiet: Platform) -> None:
    crowd = await quiet.user()
    question, headers = {"message": "When does the lock open?"}, {"Idempotency-Key": "ask-1"}
    async with crowded(quiet, crowd, patience=0.3, queue=names.CHAT_QUEUE) as (held, (mine,)):
        held.free.set()
        first = await mine.post("/api/v1/chat", json=question, headers=headers)
        await crowd.finished(first.json()["workflow_id"])
        held.free.clear()
        waiting = [asyncio.create_task(mine.post("/api/v1/chat", json=question)) for _ in range(AT_ONCE[Kind.CHAT])]
        await until_waiting(held, len(waiting))

        again = await mine.post("/api/v1/chat", json=question, headers=headers)
        refused = await mine.post("/api/v1/chat", json=question)

        assert (again.status_code, again.json()["workflow_id"]) == (202, first.json()["workflow_id"])
        assert refused.status_code == 503
        held.free.set()
        assert {reply.status_code for reply in await asyncio.gather(*waiting)} == {202}


async def test_who_waited_for_room_is_sent_away_when_others_took_it(start_platform: StartPlatform) -> None:
    async with start_platform("overtaken", work=False, chat_backlog=MOST) as overtaken:
        crowd = await overtaken.user()
        once = Clock()  # the queue is looked at once, and who is let in after that is counted here
        async with crowded(overtaken, crowd, queue=names.CHAT_QUEUE, clock=once) as (held, (mine,)):
            asked = [asyncio.create_task(mine.post("/api/v1/chat", json={"message": f"{n}?"})) for n in range(5 * MOST)]
            await until_waiting(held, AT_ONCE[Kind.CHAT])
            await asyncio.wait_for(held.looked.wait(), 5)
            held.free.set()

            statuses = Counter(reply.status_code for reply in await asyncio.gather(*asked))

        assert set(statuses) == {202, 503}
        assert statuses[202] < 3 * MOST


async def test_nothing_is_begun_for_who_hung_up_while_waiting(quiet: Platform) -> None:
    crowd = await quiet.user()
    held = Held(quiet.services.engine, crowd.tenant, names.CHAT_QUEUE)
    question = {"message": "When does the lock open?"}
    async with (
        serving(replace(quiet, services=replace(quiet.services, engine=held))) as server,
        httpx.AsyncClient(base_url=server.url, headers=crowd.http.headers, trust_env=False) as http,
    ):
        waiting = [asyncio.create_task(http.post("/api/v1/chat", json=question)) for _ in range(AT_ONCE[Kind.CHAT])]
        await until_waiting(held, len(waiting))
        with pytest.raises(httpx.ReadTimeout):
            await http.post("/api/v1/chat", json=question, timeout=0.5)
        held.free.set()
        await asyncio.gather(*waiting)
        await http.post("/api/v1/chat", json=question)

        assert len((await crowd.http.get("/api/v1/runs")).json()["items"]) == len(waiting) + 1


class Silent(Held):
    """Engine. Starts of this tenant on one queue wait, and then have no answer."""

    async def start(self, principal: Principal, launch: Launch) -> str:
        self.waiting += 1
        await self.free.wait()
        raise TemporalUnavailable


async def test_a_temporal_that_does_not_answer_is_not_waited_for_by_one_after_the_other(quiet: Platform) -> None:
    crowd = await quiet.user()
    silent = Silent(quiet.services.engine, crowd.tenant, names.CHAT_QUEUE)
    async with api_client(replace(quiet.services, engine=silent), dict(crowd.http.headers)) as mine:
        asked = [asyncio.create_task(mine.post("/api/v1/chat", json={"message": f"{n}?"})) for n in range(20)]
        await until_waiting(silent, AT_ONCE[Kind.CHAT])
        silent.free.set()
        replies = await asyncio.gather(*asked)

    problems = [reply.json() for reply in replies]
    assert {(reply.status_code, reply.json()["code"]) for reply in replies} == {(503, "dependency_unavailable")}
    assert len({problem["run"] for problem in problems}) == 20
    assert silent.waiting == AT_ONCE[Kind.CHAT]
