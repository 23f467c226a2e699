"""Turns survive the death of their worker, of Redis, and a provider that fails: one answer each, paid once."""

import asyncio
import time

import pytest

from tests.faults.client import Client, joined, login
from tests.faults.world import World, assert_world, idle, struck
from tests.provider.calls import Call
from tests.provider.script import Fault
from tests.provider.words import CONDENSE, SUMMARIZE

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

full = pytest.mark.faults
PACE = 0.05  # seconds per token
LONG = "The tide came in and the tide went out again. " * 200  # two of these do not fit a window
WORDS = " ".join(f"word{number}" for number in range(40))  # two seconds of answer


async def took(client: Client) -> float:
    """Seconds from a question to its answer."""
    began = time.monotonic()
    await client.answered(await client.ask("Say it word by word."))
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("token", "ms"), [("middle", 1000), pytest.param("first", 250, marks=full), pytest.param("last", 1900, marks=full)]
)
async def test_a_worker_killed_while_it_answers_leaves_one_answer(
    token: str, ms: int, world: World, client: Client
) -> None:
    """A06."""
    world.stack.provider.manners.pace = PACE
    world.stack.provider.manners.answer = lambda _: WORDS
    undisturbed = await took(client)
    world.stack.arm(f"turn.answer.during:{ms}=kill*1")

    world.figures.resumed.append(await took(client) - undisturbed)
    world.stack.provider.manners.pace = 0
    assert world.stack.struck() == 1, token
    await assert_world(world, client)


@full
@pytest.mark.parametrize(
    "point", ["turn.recall.after", "turn.condense.after", "turn.retrieve.after", "turn.answer.after"]
)
async def test_a_worker_killed_between_the_steps_of_a_turn_pays_once(point: str, world: World, client: Client) -> None:
    """A07: the answer is committed, its step not yet acknowledged, the metering not yet started."""
    await client.ready(await client.upload())
    first = await client.ask("Who is in the harbour?", use_rag=True)
    await client.answered(first)
    world.stack.arm(f"{point}=kill*1")
    question = await client.ask("Which berth?", first.conversation_id, use_rag=True)

    await client.answered(question)

    assert world.stack.struck() == 1
    assert len([call for call in world.stack.provider.calls if is_answer(call)]) == 2
    await assert_world(world, client)


@full
@pytest.mark.parametrize(("moment", "summaries"), [("before", 1), ("after", 1), ("during:300", 2)])
async def test_a_worker_killed_at_a_summary_leaves_one_that_is_paid_once(
    moment: str, summaries: int, world: World, client: Client
) -> None:
    """It is kept with its call: the step that is repeated finds it, or makes the only one."""
    first = await client.ask(LONG)
    await client.answered(first)
    await client.answered(await client.ask(LONG, first.conversation_id))
    world.stack.provider.manners.pace = PACE
    world.stack.arm(f"turn.summarize.{moment}=kill*1")
    question = await client.ask("Which berth?", first.conversation_id)

    await client.answered(question)

    assert world.stack.struck() == 1
    assert len([call for call in world.stack.provider.calls if is_summary(call)]) == summaries
    rows = [row for row in world.stored(client).rows("provider_calls") if row["purpose"] == "summary"]
    assert [row["delivery"] for row in rows].count("delivered") == 1
    await assert_world(world, client)


async def test_an_answer_whose_acknowledgement_is_lost_is_given_and_paid_once(world: World, client: Client) -> None:
    """A51: the step and its metering run twice, and find that they have run."""
    world.stack.arm("turn.answer.after=raise*1", "usage.settle.after=raise*1")
    question = await client.ask("Once, please.")

    await client.answered(question)
    await idle(world.stored(client), 30)

    assert world.stack.struck() == 2
    assert len(world.stack.provider.calls) == 1
    await assert_world(world, client)


@full
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_metering_goes_on_when_its_worker_dies(moment: str, world: World, client: Client) -> None:
    """A08."""
    world.stack.arm(f"usage.settle.{moment}=kill*1")
    question = await client.ask("What does it cost?")

    await client.answered(question)
    await struck(world)

    await assert_world(world, client)


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=[full, pytest.mark.timeout(400)])])
async def test_conversations_go_on_while_redis_is_killed(kills: int, world: World, client: Client) -> None:
    """A15."""
    talking = asyncio.create_task(conversation(client, most=10 * kills))
    for _ in range(kills):
        await asyncio.sleep(1.0)
        pid = world.nemesis.kill("redis")
        await world.nemesis.gone("redis", pid)
        await world.nemesis.ready("redis")
        began = time.monotonic()
        await login(client)
        assert time.monotonic() - began < 5
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)

    await assert_world(world, client)


async def test_a_conversation_goes_on_while_redis_is_silent(world: World, client: Client) -> None:
    """A17: every call of it costs its deadline, and no step is taken for dead meanwhile."""
    first = await client.ask(LONG)
    await client.answered(first)
    await client.answered(await client.ask(LONG, first.conversation_id))
    world.stack.proxies["redis"].stall()

    began = time.monotonic()
    question = await client.ask("Which berth?", first.conversation_id)
    assert time.monotonic() - began < 3
    await client.answered(question)

    await world.stack.proxies["redis"].heal()
    chats = [call for call in world.stack.provider.calls if call.kind == "chat"]
    assert len([call for call in chats if is_summary(call)]) == 1
    assert len(chats) == 4, "a summary, three answers, and nothing twice"
    await assert_world(world, client)


@pytest.mark.parametrize("status", [429, pytest.param(500, marks=full), pytest.param(503, marks=full)])
async def test_a_provider_that_refuses_twice_is_asked_again_and_paid_once(
    status: int, world: World, client: Client
) -> None:
    """A26."""
    other = await joined(world.stack.api_url, world.log)
    world.stack.provider.script(
        Fault(status=status, retry_after=1, kind="chat", times=2), Fault(status=status, kind="embedding", times=2)
    )

    question = await client.ask("Are you there?")
    upload = await client.upload()
    await client.answered(question)
    await client.ready(upload)
    neighbour = await other.ask("And for me?")
    await other.answered(neighbour)

    refused = [call for call in world.stack.provider.calls if call.status == status]
    assert len(refused) == 4
    await assert_world(world, client, other)
    await other.http.aclose()


async def test_a_provider_that_keeps_refusing_ends_the_turn_with_a_code(world: World, client: Client) -> None:
    """A26: three tries, then a typed end, and nothing reserved."""
    world.stack.provider.script(Fault(status=503, kind="chat", times=3))

    question = await client.ask("Are you there?")
    run = await client.finished(question.workflow_id)

    assert (run["state"], run["error"]["code"]) == ("failed", "provider_unavailable")
    await assert_world(world, client, failed=frozenset({question.workflow_id}))


@full
async def test_a_turn_that_finds_no_index_fails_after_a_minute(world: World, client: Client) -> None:
    """A21: never "nothing found"."""
    await client.ready(await client.upload())
    async with world.nemesis.down("weaviate"):
        question = await client.ask("Which berth?", use_rag=True)
        began = time.monotonic()
        run = await client.finished(question.workflow_id, 90)
        took = time.monotonic() - began

    assert (run["state"], run["error"]["code"]) == ("failed", "store_unavailable")
    assert 50 < took < 75
    await assert_world(world, client, failed=frozenset({question.workflow_id}))


async def test_cancelling_twice_is_cancelling_once(world: World, client: Client) -> None:
    """A45."""
    world.stack.provider.manners.pace = PACE
    world.stack.provider.manners.answer = lambda _: WORDS
    question = await client.ask("Say it word by word.")
    await world.stack.provider.until(lambda calls: any(call.kind == "chat" for call in calls))

    path = f"/api/v1/runs/{question.workflow_id}/cancel"
    replies = await asyncio.gather(*(client.send("POST", path) for _ in range(2)))
    run = await client.finished(question.workflow_id)
    again = await client.send("POST", path)

    assert [reply.status_code for reply in (*replies, again) if reply] == [202, 202, 202]
    assert run["state"] == "cancelled"
    await assert_world(world, client, failed=frozenset({question.workflow_id}))


def is_answer(call: Call) -> bool:
    """Neither an embedding nor a rewritten question nor a summary."""
    return call.kind == "chat" and not str(call.messages[0]["content"]).startswith((CONDENSE, SUMMARIZE))


def is_summary(call: Call) -> bool:
    return call.kind == "chat" and str(call.messages[0]["content"]).startswith(SUMMARIZE)


async def conversation(client: Client, *, most: int) -> None:
    """Turn after turn, each answered before the next."""
    conversation_id = None
    for number in range(most):
        question = await asyncio.shield(client.ask(f"Question {number}?", conversation_id))
        conversation_id = question.conversation_id
        await client.finished(question.workflow_id)
