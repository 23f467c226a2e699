"""The ledger against the provider's log after many calls, some of which went wrong: each reply is in it once."""

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from domain.names import new_id
from domain.usage import Delivery
from tests.faults.balance import Balance, balanced, counted, number_of
from tests.faults.carefree import carefree
from tests.faults.client import Client
from tests.faults.conftest import SEED
from tests.faults.world import World, assert_world, idle
from tests.provider.calls import Call
from tests.provider.script import Fault

CALLS = int(os.environ.get("MOORAGE_LEDGER_CALLS", "160"))
KILLS = max(2, min(10, CALLS // 40))
SPEAKERS = 10
TURNS = 5  # of a conversation
WORKERS = ("worker-chat", "worker-chat-2")
DROPPED, KILLED = f"answer.commit.before=raise%5#{SEED}*9999", f"answer.commit.before=kill%2#{SEED}*2"
RULES = (
    DROPPED,
    KILLED,
    f"answer.commit.after=raise%5#{SEED}*9999",  # the database's reply is lost
    f"turn.answer.after=raise%5#{SEED}*9999",  # the step is done, and done again
    f"turn.condense.after=raise%5#{SEED}*9999",
)
WORD = re.compile(r"ask-[0-9a-f]{10}")

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300 + CALLS)]


async def test_every_reply_is_in_the_ledger_once_whatever_went_wrong_after_it(world: World, client: Client) -> None:
    """M01."""
    await asyncio.gather(*(client.ready(upload) for upload in [await client.upload() for _ in range(3)]))
    dice, provider = random.Random(SEED), world.stack.provider
    provider.script(Fault(status=429, retry_after_ms=100, times=10**9, fits=lambda _: dice.random() < 0.05))
    before = len(provider.calls)
    world.stack.arm(*RULES)

    async with carefree(world.stack):
        killing = asyncio.create_task(kill_workers(world, before))
        speakers = [speak(client, lambda: len(provider.calls) - before >= CALLS) for _ in range(SPEAKERS)]
        states = Counter(state for talk in await asyncio.gather(*speakers) for state in talk)
        kills = await killing + world.stack.struck(KILLED)
    dropped, struck = world.stack.struck(DROPPED), world.stack.struck()
    world.stack.arm()
    provider.forgive()
    await idle(world.stored(client), 60)

    rows, turns = world.stored(client).rows("provider_calls"), world.stored(client).rows("turns")
    balance = balanced(provider.calls, rows)
    show(balance, rows, turns, states, kills, struck, len(provider.calls) - before)
    replies_are_the_turns_own(provider.calls, rows, turns)
    assert kills >= KILLS
    assert dropped - kills <= balance.retried
    assert sum(row["used"] for row in world.stored(client).rows("budgets")) == counted(rows)
    seen = {row["delivery"] for row in rows if "#" in row["model"]}
    assert seen <= {Delivery.DELIVERED, Delivery.RETRIED}
    assert Delivery.RETRIED in seen or CALLS < 400  # few calls may all have been lucky
    failed = frozenset(row["workflow_id"] for row in turns if row["outcome"] != "succeeded")
    assert len(failed) < len(turns) / 10
    await assert_world(world, client, failed=failed)


async def kill_workers(world: World, before: int) -> int:
    """One of the two after the other, spread over the calls."""
    for number in range(1, KILLS + 1):
        reached = before + number * CALLS // (KILLS + 1)
        await world.stack.provider.until(lambda calls, enough=reached: len(calls) >= enough, 60 + CALLS)
        await world.nemesis.ready(*WORKERS)
        assert world.nemesis.kill(WORKERS[number % 2])
    return KILLS


async def speak(client: Client, enough: Callable[[], bool]) -> list[str]:
    """Conversation after conversation, with documents and without; how each turn ended."""
    states: list[str] = []
    while not enough():
        conversation = None
        for number in range(TURNS):
            text = f"Who reads the tide tables, ask-{new_id()[:10]}?"
            question = await client.ask(text, conversation, use_rag=number < TURNS - 1)
            conversation = question.conversation_id
            states.append((await client.finished(question.workflow_id, 120))["state"])
            if enough():
                break
    return states


def replies_are_the_turns_own(
    calls: Sequence[Call], rows: Sequence[dict[str, Any]], turns: Sequence[dict[str, Any]]
) -> None:
    """Each answer is one delivered line, that of the call it came from; each line is of a call for its own turn.

    A summary is of turns before its own."""
    words = {row["workflow_id"]: WORD.findall(row["question"])[-1] for row in turns if WORD.search(row["question"])}
    asked = {call.number: word_of(call) for call in calls}
    answers: dict[str, list[str]] = {}
    for row in rows:
        if row["workflow_id"] in words and row["purpose"] != "summary" and "#" in row["model"]:
            assert asked[number_of(row)] == words[row["workflow_id"]]
            if (row["purpose"], row["delivery"]) == ("chat", Delivery.DELIVERED):
                answers.setdefault(row["workflow_id"], []).append(row["model"])
    given = {row["workflow_id"]: [row["model_used"]] for row in turns if row["outcome"] == "succeeded"}
    assert {run: models for run, models in given.items() if run in words} == answers
    prepared = Counter(
        (row["workflow_id"], row["purpose"])
        for row in rows
        if row["purpose"] in ("condense", "summary") and row["delivery"] == Delivery.DELIVERED
    )
    assert max(prepared.values()) == 1


def word_of(call: Call) -> str | None:
    """The mark of the question that a call was made for: the last one in it."""
    text = " ".join([*call.input, *(str(message["content"]) for message in call.messages)])
    found = WORD.findall(text)
    return found[-1] if found else None


def show(
    balance: Balance,
    rows: Sequence[dict[str, Any]],
    turns: Sequence[dict[str, Any]],
    states: Counter[str],
    kills: int,
    struck: int,
    calls: int,
) -> None:
    ledger = Counter[str]()
    for row in rows:
        if row["delivery"] == Delivery.DELIVERED:
            ledger[row["purpose"]] += row["prompt_tokens"] + row["completion_tokens"]
    difference = {purpose: ledger[purpose] - balance.tokens[purpose] for purpose in ledger}
    print(
        f"  {calls} calls for {len(turns)} turns ({dict(states)}), {struck} faults, {kills} kills:"
        f" {balance.calls} completed, {balance.delivered} delivered, {balance.retried} retried,"
        f" {balance.unheard} for workers that died; {balance.estimated} lines by estimate;"
        f" tokens delivered {dict(ledger)}, difference {difference}"
    )
    assert set(difference.values()) == {0}
