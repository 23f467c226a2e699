"""Runs as they happen: Server-Sent Events over a real connection, cut, resumed, and read by other people's parsers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from openai import AsyncStream
from redis.asyncio import Redis

from api import event_stream
from domain.events import position
from tests.api.serving import Server, serving
from tests.platform import PASSWORD, Platform, User
from tests.provider.script import Fault
from tests.provider.server import ScriptedProvider
from tests.reader import Reader

LOCK = b"The harbour master opens the lock at six in the morning. The lock closes at ten in the evening."
QUESTION = "When does the lock open?"
ANSWER = " ".join(f"word{number}" for number in range(40))


@dataclass(frozen=True)
class Client:
    http: httpx.AsyncClient

    @asynccontextmanager
    async def asking(self, message: str, **fields: Any) -> AsyncIterator[httpx.Response]:
        headers = {"Accept": "text/event-stream"}
        async with self.http.stream(
            "POST", "/api/v1/chat", json={"message": message, **fields}, headers=headers
        ) as response:
            assert response.status_code == 200, await response.aread()
            yield response

    @asynccontextmanager
    async def following(self, run: str, after: str = "") -> AsyncIterator[httpx.Response]:
        headers = {"Last-Event-ID": after} if after else {}
        async with self.http.stream("GET", f"/api/v1/runs/{run}/events", headers=headers) as response:
            yield response

    async def ask(self, message: str, **fields: Any) -> Reader:
        reader = Reader()
        async with self.asking(message, **fields) as response:
            await reader.read(response.aiter_lines())
        return reader

    async def follow(self, run: str, after: str = "") -> Reader:
        reader = Reader()
        async with self.following(run, after) as response:
            assert response.status_code == 200, await response.aread()
            await reader.read(response.aiter_lines())
        return reader


@pytest.fixture
async def server(talking: Platform) -> AsyncIterator[Server]:
    async with serving(talking) as running:
        yield running


@pytest.fixture
async def client(server: Server, talker: User, provider: ScriptedProvider) -> AsyncIterator[Client]:
    provider.reset()
    headers = {"Authorization": talker.http.headers["Authorization"]}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=30, trust_env=False) as http:
        yield Client(http)
    provider.reset()


@pytest.fixture
def slowly(provider: ScriptedProvider) -> None:
    """An answer of forty words in a second."""
    provider.manners.pace = 0.025
    provider.manners.answer = lambda _: ANSWER


async def test_a_question_is_answered_word_by_word(talker: User, client: Client, slowly: None) -> None:
    await talker.upload("lock.txt", LOCK)

    async with client.asking(QUESTION) as response:
        reader = Reader()
        await reader.read(response.aiter_lines())

    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["location"] == f"/api/v1/runs/{response.headers['x-workflow-id']}"
    kinds = reader.kinds
    assert kinds[0] == "run"
    assert kinds[-1] == "done"
    assert kinds.count("token") > 5
    assert kinds.index("step") < kinds.index("sources") < kinds.index("token")
    steps = [data["name"] for _, kind, data in reader.events if kind == "step"]
    assert steps == ["recall", "retrieve", "answer"]
    assert reader.text == reader.end["response"]["content"] == ANSWER
    assert reader.events[0][2]["workflow_id"] == reader.end["workflow_id"]
    stored = (await talker.http.get(f"/api/v1/chat/conversations/{reader.end['conversation_id']}/history")).json()
    assert stored["messages"][1]["content"] == reader.text


async def test_markers_that_point_nowhere_are_not_told_either(
    talker: User, client: Client, provider: ScriptedProvider
) -> None:
    await talker.upload("lock.txt", LOCK)
    provider.manners.pace = 0.02
    provider.script(Fault(text="It opens at six [1] [7], or [1, 9] so [x].", kind="chat"))

    reader = await client.ask(QUESTION)

    assert reader.text == reader.end["response"]["content"] == "It opens at six [1], or [1] so [x]."
    assert reader.kinds.count("reset") == 0


async def test_an_answer_that_is_not_there_is_told_too(client: Client) -> None:
    reader = await client.ask("Which vaccines does a dog need?")

    assert reader.end["finish_reason"] == "not_found"
    assert reader.text == reader.end["response"]["content"]


async def test_who_comes_late_is_told_everything_and_who_has_heard_the_end_nothing(client: Client) -> None:
    first = await client.ask("Say hello.", use_rag=False)
    run = first.end["workflow_id"]

    again = await client.follow(run)
    rest = await client.follow(run, first.events[2][0])

    assert again.events == first.events
    assert rest.events == [first.events[0], *first.events[3:]]
    for seen in (first.last, f"{position(first.last)[0] + 60_000}-0"):  # type: ignore[index]
        async with client.following(run, seen) as response:
            assert response.status_code == 204


async def test_cut_at_any_place_and_resumed_the_words_are_the_answer(
    talking: Platform, client: Client, slowly: None
) -> None:
    """On one API and on another."""
    async with serving(talking) as other:
        reader = Reader()
        async with client.asking("Say it word by word.", use_rag=False) as response:
            run = response.headers["x-workflow-id"]
            await reader.read(response.aiter_lines(), most=4)
        for number, http in enumerate(
            [client.http, httpx.AsyncClient(base_url=other.url, headers=client.http.headers, timeout=30)]
        ):
            async with Client(http).following(run, reader.last) as response:
                await reader.read(response.aiter_lines(), most=len(reader.events) + 3 if number == 0 else None)

    assert reader.text == reader.end["response"]["content"] == ANSWER
    assert "reset" not in reader.kinds


async def test_a_log_that_redis_lost_in_the_middle_begins_anew(
    client: Client, redis: Redis, talker: User, slowly: None
) -> None:
    async def lose() -> None:
        async for key in redis.scan_iter(f"{talker.tenant}:*"):
            await redis.delete(key)

    staying, leaving = Reader(), Reader()
    async with client.asking("Say it word by word.", use_rag=False) as response:
        run = response.headers["x-workflow-id"]
        lines = response.aiter_lines()
        await staying.read(lines, most=5)
        async with client.following(run) as second:
            await leaving.read(second.aiter_lines(), most=4)
        await lose()
        await staying.read(lines)
    async with client.following(run, leaving.last) as second:
        await leaving.read(second.aiter_lines())

    for reader in (staying, leaving):
        assert reader.text == reader.end["response"]["content"] == ANSWER
        assert "reset" in reader.kinds


async def test_a_log_that_is_gone_still_has_its_end(client: Client, redis: Redis, talker: User) -> None:
    first = await client.ask("Say hello.", use_rag=False)
    run = first.end["workflow_id"]
    async for key in redis.scan_iter(f"{talker.tenant}:*"):
        await redis.delete(key)

    again, back = await client.follow(run), await client.follow(run, first.events[1][0])

    for reader in (again, back):
        assert reader.text == first.text
        assert reader.end == first.end
    async with client.following(run, again.last) as response:
        assert response.status_code == 204


async def test_a_second_attempt_takes_back_the_first(client: Client, provider: ScriptedProvider, slowly: None) -> None:
    provider.script(Fault.cut_after(10))

    reader = await client.ask("Say it word by word.", use_rag=False)

    resets = [data for _, kind, data in reader.events if kind == "reset"]
    states = [(data["name"], data["state"], data["attempt"]) for _, kind, data in reader.events if kind == "step"]
    assert resets == [{"attempt": 2}]
    assert states[-3:] == [("answer", "running", 1), ("answer", "waiting", 1), ("answer", "running", 2)]
    assert reader.text == reader.end["response"]["content"] == ANSWER


async def test_who_stops_keeps_what_was_said_and_pays_for_it(
    client: Client, provider: ScriptedProvider, talker: User, slowly: None
) -> None:
    reader = Reader()
    async with client.asking("Say it word by word.", use_rag=False) as response:
        run = response.headers["x-workflow-id"]
        lines = response.aiter_lines()
        await reader.read(lines, most=8)
        began = asyncio.get_running_loop().time()
        await client.http.post(f"/api/v1/runs/{run}/cancel")
        await provider.until(lambda calls: calls[-1].status == 499)
        took = asyncio.get_running_loop().time() - began
        await reader.read(lines)

    said = reader.end["response"]["content"]
    assert took < 1.0
    assert (reader.kinds[-1], reader.end["finish_reason"]) == ("cancelled", "cancelled")
    assert reader.text == said
    assert ANSWER.startswith(said)
    assert 3 < len(said.split()) < 40
    messages = (await talker.http.get(f"/api/v1/chat/conversations/{reader.end['conversation_id']}/history")).json()[
        "messages"
    ]
    usage = await talker.settled_usage()
    assert messages[1]["content"] == said
    assert (usage["tokens_used"], usage["tokens_reserved"]) == (reader.end["usage"]["total_tokens"], 0)
    assert reader.end["usage"]["estimated"] is True


async def test_a_turn_that_was_stopped_is_part_of_the_conversation(
    client: Client, provider: ScriptedProvider, slowly: None
) -> None:
    reader = Reader()
    async with client.asking("Say it word by word.", use_rag=False) as response:
        lines = response.aiter_lines()
        await reader.read(lines, most=8)
        await client.http.post(f"/api/v1/runs/{response.headers['x-workflow-id']}/cancel")
        await reader.read(lines)
    provider.reset()

    await client.ask("Go on.", use_rag=False, conversation_id=reader.end["conversation_id"])

    sent = [message["content"] for message in provider.calls[-1].messages]
    assert reader.text in sent


async def test_a_failed_turn_ends_with_its_problem(client: Client, provider: ScriptedProvider) -> None:
    provider.script(Fault(status=401, kind="chat"))

    reader = await client.ask("Say hello.", use_rag=False)

    assert reader.kinds[-1] == "error"
    assert (reader.end["code"], reader.end["status"]) == ("provider_auth", 503)
    assert reader.end["run"] == reader.events[0][2]["workflow_id"]


async def test_an_ingestion_tells_its_steps_and_how_far_it_is(talker: User, client: Client) -> None:
    text = b"".join(b"The lock number %d opens at six in the morning, and closes late.\n\n" % n for n in range(2000))
    uploaded = await talker.http.post("/api/v1/documents", files={"file": ("locks.txt", text)})

    reader = await client.follow(uploaded.json()["workflow_id"])

    steps = [data["name"] for _, kind, data in reader.events if kind == "step"]
    progress = [(data["done"], data["total"]) for _, kind, data in reader.events if kind == "progress"]
    assert steps == ["parse", "embed", "index", "publish"]
    assert len(progress) > 1
    assert progress == sorted(progress)
    assert progress[-1][0] == progress[-1][1]
    assert (reader.kinds[-1], reader.end["state"]) == ("done", "succeeded")


async def test_a_parked_run_ends_its_stream_and_goes_on_in_the_next(
    client: Client, talker: User, provider: ScriptedProvider, buying: Platform
) -> None:
    buyer = await buying.user()
    provider.script(Fault(status=401, kind="embedding"))
    run = (await buyer.upload("lock.txt", LOCK))["workflow_id"]
    async with serving(buying) as server, httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        http.headers["Authorization"] = buyer.http.headers["Authorization"]
        parked = await Client(http).follow(run)
        async with Client(http).following(run, parked.last) as response:
            assert response.status_code == 204
        await buyer.http.post(f"/api/v1/runs/{run}/replay")
        rest = await Client(http).follow(run, parked.last)

    assert (parked.kinds[-1], parked.end["state"]) == ("parked", "parked")
    assert (rest.kinds[-1], rest.end["state"]) == ("done", "succeeded")


async def test_the_work_is_done_though_every_reader_left(client: Client, talker: User, slowly: None) -> None:
    async with client.asking("Say it word by word.", use_rag=False) as response:
        run = response.headers["x-workflow-id"]
        await Reader().read(response.aiter_lines(), most=3)

    assert (await talker.finished(run))["state"] == "succeeded"
    assert (await client.follow(run)).text == ANSWER


async def test_a_quiet_stream_shows_that_it_lives(
    client: Client, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT", 0.2)
    provider.script(Fault.hang(1))
    async with client.asking("Say hello.", use_rag=False) as response:
        run = response.headers["x-workflow-id"]
        heard = b""
        async for chunk in response.aiter_raw():
            heard += chunk
            if heard.count(b": \n") >= 3:
                break
    await client.http.post(f"/api/v1/runs/{run}/cancel")

    assert b": \n\n" not in heard


async def test_who_logs_out_hears_no_more_of_a_stream_and_may_come_back_for_the_rest(
    client: Client, talker: User, provider: ScriptedProvider
) -> None:
    provider.manners.pace = 0.2
    provider.manners.answer = lambda _: ANSWER
    username = (await talker.http.get("/api/v1/auth/me")).json()["username"]
    person = {"username": username, "password": PASSWORD}
    reader = Reader()
    async with client.asking("Say it word by word.", use_rag=False) as response:
        run = response.headers["x-workflow-id"]
        lines = response.aiter_lines()
        await reader.read(lines, most=3)
        assert (await client.http.post("/api/v1/auth/logout")).status_code == 204
        async with asyncio.timeout(4):
            await reader.read(lines)
    async with client.following(run, reader.last) as refused:
        assert refused.status_code == 401
    provider.manners.pace = 0.0
    tokens = (await client.http.post("/api/v1/auth/login", json=person)).json()
    client.http.headers["Authorization"] = f"Bearer {tokens['access_token']}"

    async with client.following(run, reader.last) as response:
        await reader.read(response.aiter_lines())

    assert reader.text == reader.end["response"]["content"] == ANSWER


async def test_the_official_openai_client_reads_it(
    client: Client, slowly: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parser, heartbeats included: comments with a blank line after them make it fail."""
    from openai import AsyncOpenAI

    monkeypatch.setattr(event_stream, "HEARTBEAT", 0.1)
    openai = AsyncOpenAI(base_url=str(client.http.base_url), api_key="none", http_client=client.http)
    async with client.asking("Say it word by word.", use_rag=False) as response:
        stream = AsyncStream[Any](cast_to=object, response=response, client=openai)
        events = [event async for event in stream._iter_events()]

    said = "".join(json.loads(event.data)["text"] for event in events if event.event == "token")
    assert said == ANSWER
    assert events[-1].event == "done"


@pytest.mark.parametrize("name", ["x", "1-2-3", "-5", "é", "9" * 40])
async def test_an_id_that_is_none_is_refused(client: Client, name: str) -> None:
    run = (await client.ask("Say hello.", use_rag=False)).end["workflow_id"]

    response = await client.http.get(f"/api/v1/runs/{run}/events", params={"after": name})

    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


async def test_a_look_at_the_head_opens_no_stream(client: Client) -> None:
    run = (await client.ask("Say hello.", use_rag=False)).end["workflow_id"]

    response = await client.http.head(f"/api/v1/runs/{run}/events")

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")


async def test_another_tenants_run_has_no_events(client: Client, talking: Platform) -> None:
    run = (await client.ask("Say hello.", use_rag=False)).end["workflow_id"]
    stranger = await talking.user()

    assert (await stranger.http.get(f"/api/v1/runs/{run}/events")).status_code == 404
