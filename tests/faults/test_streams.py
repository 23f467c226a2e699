"""Who reads a run while it lasts gets its answer, whatever is cut, killed or lost on the way: once, and one end."""

import asyncio
import random
from contextlib import AbstractAsyncContextManager

import httpx
import pytest

from infra.redis import pool
from tests.faults.client import Client, Question
from tests.faults.conftest import SEED
from tests.faults.world import World, assert_world
from tests.reader import ENDS, Reader

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

full = pytest.mark.faults
PACE = 0.1  # seconds per token
WORDS = " ".join(f"word{number}" for number in range(120))  # twelve seconds of answer
SHORT = " ".join(f"word{number}" for number in range(20))  # two seconds
CUTS = 3
READERS = 5
AGAIN = 0.2  # seconds before a reader comes back


@pytest.mark.parametrize("streams", [12, pytest.param(50, marks=full)])
async def test_streams_cut_across_a_restart_and_a_flush_tell_the_whole_answer(
    streams: int, world: World, client: Client
) -> None:
    """A19: each is cut three times; meanwhile the API is killed, and Redis loses everything it knew."""
    world.stack.provider.manners.pace = PACE
    world.stack.provider.manners.answer = lambda _: WORDS
    questions = await asyncio.gather(*(client.ask(f"Say it word by word, {number}.") for number in range(streams)))
    dice = random.Random(SEED)
    reading = [asyncio.create_task(read(client, one, random.Random(dice.random()), CUTS)) for one in questions]

    await asyncio.sleep(3)
    assert world.nemesis.kill("api")
    await asyncio.sleep(5)
    async with pool(world.stack.addresses.redis_url) as redis:
        await redis.flushdb()
    readers = await asyncio.gather(*reading)

    world.stack.provider.manners.pace = 0
    await each_has_its_answer(world, client, questions, readers, WORDS)
    print(f"  {streams} streams, {sum('reset' in one.kinds for one in readers)} of them told to begin anew")
    await assert_world(world, client)


@pytest.mark.parametrize(
    ("token", "ms"), [("middle", 1000), pytest.param("first", 150, marks=full), pytest.param("last", 1950, marks=full)]
)
async def test_readers_of_an_answer_whose_worker_is_killed_get_it_once(
    token: str, ms: int, world: World, client: Client
) -> None:
    """A06: what the dead one said is taken back, or the next one finds it done; one turn is kept, and paid once."""
    world.stack.provider.manners.pace = PACE
    world.stack.provider.manners.answer = lambda _: SHORT
    world.stack.arm(f"turn.answer.during:{ms}=kill*1")
    question = await client.ask("Say it word by word.")

    readers = await asyncio.gather(
        *(read(client, question, random.Random(number), cuts=number) for number in range(READERS))
    )

    world.stack.provider.manners.pace = 0
    assert world.stack.struck() == 1, token
    await each_has_its_answer(world, client, [question] * READERS, readers, SHORT)
    rows = world.stored(client).rows("provider_calls")
    assert [row["delivery"] for row in rows].count("delivered") == 1
    await assert_world(world, client)


async def test_clients_that_vanish_in_the_middle_find_their_answers_later(world: World, client: Client) -> None:
    """B11: half of them hang up while they are being answered; nobody cancels for them, and all are answered alike."""
    world.stack.provider.manners.pace = PACE
    world.stack.provider.manners.answer = lambda _: SHORT
    questions = await asyncio.gather(*(client.ask(f"Say it word by word, {number}.") for number in range(20)))

    async def vanish(question: Question) -> None:
        reader = Reader()
        async with following(client, question, reader) as response:
            await reader.read(response.aiter_lines(), most=4)

    await asyncio.gather(
        *(vanish(one) for one in questions[::2]),
        *(read(client, one, random.Random(0), cuts=0) for one in questions[1::2]),
    )
    back = await asyncio.gather(*(read(client, one, random.Random(0), cuts=0) for one in questions))

    world.stack.provider.manners.pace = 0
    await each_has_its_answer(world, client, list(questions), back, SHORT)
    await assert_world(world, client)


async def read(client: Client, question: Question, dice: random.Random, cuts: int) -> Reader:
    """To the end; it hangs up so many times at random places, and comes back whenever it was cut off."""
    reader = Reader()
    while not reader.kinds or reader.kinds[-1] not in ENDS:
        most = len(reader.events) + dice.randint(1, 25) if cuts else None
        cuts -= bool(most)
        try:
            async with following(client, question, reader) as response:
                if response.status_code == 200:
                    await reader.read(response.aiter_lines(), most)
        except httpx.HTTPError:
            await asyncio.sleep(AGAIN)
    return reader


def following(client: Client, question: Question, reader: Reader) -> AbstractAsyncContextManager[httpx.Response]:
    headers = {"Last-Event-ID": reader.last} if reader.last else {}
    return client.http.stream("GET", f"/api/v1/runs/{question.workflow_id}/events", headers=headers)


async def each_has_its_answer(
    world: World, client: Client, questions: list[Question], readers: list[Reader], words: str
) -> None:
    answers = {row["workflow_id"]: row["answer"] for row in world.stored(client).rows("turns")}
    for question, reader in zip(questions, readers, strict=True):
        assert reader.text == answers[question.workflow_id] == words
        assert reader.end["workflow_id"] == question.workflow_id
        async with following(client, question, reader) as response:
            assert response.status_code == 204
