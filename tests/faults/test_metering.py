"""What was reserved comes back however a turn ends; room that is there is given; what is taken beyond is told."""

import asyncio
import json
import math
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from temporalio.client import Client as Temporal

from domain.names import new_id
from tests.faults.account import PATIENCE, Account, charge, refusal, registered, reservation_of
from tests.faults.balance import balanced, counted
from tests.faults.carefree import carefree
from tests.faults.conftest import SEED
from tests.faults.stack import Stack, launched
from tests.faults.stored import Stored
from tests.faults.world import budgets_are_settled
from tests.provider.script import Ask, Fault

RELEASED = int(os.environ.get("MOORAGE_RELEASED_TURNS", "60"))
SEQUENTIAL = int(os.environ.get("MOORAGE_SEQUENTIAL_TURNS", "80"))

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180 + RELEASED // 2 + SEQUENTIAL // 2)]

PROMPT = {"message": "What is it now?", "use_rag": False, "max_tokens": 20}
AT_ONCE = 20
PACE = 0.05  # seconds per token
WORDS = " ".join(f"word{number}" for number in range(40))  # two seconds of answer
ALWAYS = 10**9
CHEAPEST, DEAREST = 2, 8000  # tokens that a provider may charge for any call
ENDS = {
    "refused": "failed",
    "malformed": "failed",
    "down": "failed",
    "hanging": "failed",
    "cancelled": "cancelled",
    "left": "succeeded",
}


FAULTS = (  # and the state of a turn that meets one of them once
    (Fault(status=401, code="invalid_api_key"), "failed"),
    (Fault(status=429), "succeeded"),
    (Fault.hang(), "succeeded"),
    (Fault.malformed(), "failed"),
    (Fault(status=500), "succeeded"),
    (Fault(status=400), "failed"),
    (Fault.cut_after(3), "succeeded"),
    (Fault(status=403), "failed"),
    (Fault.hang(after=3), "succeeded"),
    (Fault(finish="content_filter"), "failed"),
    (Fault(status=429, retry_after=1), "succeeded"),
    (Fault(status=404, code="model_not_found"), "failed"),
    (Fault.end_after(3), "succeeded"),
    (Fault(status=400, code="context_length_exceeded"), "failed"),
    (Fault.error_after(2, "server_error"), "succeeded"),
    (Fault(status=429, code="insufficient_quota"), "failed"),
    (Fault.cut_after(0), "succeeded"),
    (Fault.malformed(""), "failed"),
    (Fault(status=503), "succeeded"),
    (Fault(text=" \n "), "failed"),
)


@pytest.fixture(scope="module")
async def hasty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Has little patience with a provider that says nothing."""
    home = tmp_path_factory.mktemp("hasty") / "home"
    patience = {"MOORAGE_FIRST_TOKEN_SECONDS": "1", "MOORAGE_TOKEN_GAP_SECONDS": "1"}
    async with launched(home, seed=SEED, spare=False, **patience) as running:
        yield running


async def test_what_was_reserved_is_released_however_a_turn_ends(hasty: Stack) -> None:
    """M04."""
    stage = Stage()
    hasty.provider.reset()
    hasty.provider.manners.pace = PACE
    hasty.provider.manners.answer = stage.speak
    hasty.provider.script(
        Fault(status=401, code="invalid_api_key", fits=about("refused"), times=ALWAYS),
        Fault(body="<html>no</html>", fits=about("malformed"), times=ALWAYS),
        Fault(status=503, fits=about("down"), times=ALWAYS),
        Fault(hang_at=0, fits=about("hanging"), times=ALWAYS),
    )
    turns = [list(ENDS)[number % len(ENDS)] for number in range(RELEASED)]
    async with registered(hasty) as account, carefree(hasty):
        free = asyncio.Semaphore(AT_ONCE)
        ended = await asyncio.gather(*(stage.play(account, kind, free) for kind in turns))
        month, seconds = await account.settled()
        stored = Stored(hasty, await Temporal.connect(hasty.addresses.temporal_address, lazy=True), account.tenant)

    print(
        f"  {RELEASED} turns: nothing reserved {seconds:.1f} s after the last one, {month['tokens_used']} tokens used"
    )
    assert Counter(zip(turns, ended, strict=True)) == Counter((kind, ENDS[kind]) for kind in turns)
    assert seconds < 10
    assert month["tokens_used"] > 0
    assert [row["reserved"] for row in stored.rows("commands")] == [0] * RELEASED
    budgets_are_settled(stored)


async def test_twenty_faults_in_a_row_leave_nothing_held_and_nothing_stuck(hasty: Stack) -> None:
    """A27-A30: refused, silent, malformed, cut."""
    hasty.provider.reset()
    hasty.provider.manners.numbered = True
    async with registered(hasty) as account, carefree(hasty):
        states = []
        for fault, _ in FAULTS:
            hasty.provider.script(fault)
            run = (await account.ask(PROMPT)).json()
            states.append((await account.finished(run["workflow_id"]))["state"])
        month, _ = await account.settled()
        stored = Stored(hasty, await Temporal.connect(hasty.addresses.temporal_address, lazy=True), account.tenant)
    balance = balanced(await hasty.provider.idle(), stored.rows("provider_calls"))

    print(f"  {len(FAULTS)} faults: {Counter(states)}, {balance}")
    assert len(FAULTS) == 20
    assert states == [state for _, state in FAULTS]
    commands = stored.rows("commands", order="created_at")
    assert [(row["outcome"], row["reserved"]) for row in commands] == [(state, 0) for state in states]
    assert (month["tokens_used"], month["tokens_reserved"]) == (counted(stored.rows("provider_calls")), 0)
    assert balance.delivered == states.count("succeeded")
    budgets_are_settled(stored)


async def test_at_the_limit_a_turn_is_refused_when_there_is_no_room_and_not_before(hasty: Stack) -> None:
    """M05: the next question follows the answer at once, while the last one's reservation is still there."""
    hasty.provider.reset()
    turn = await reservation_of(hasty, PROMPT)
    left = turn + (SEQUENTIAL - 1) * CHEAPEST  # the last turn just fits
    dear, rest = divmod(99 * left, DEAREST)
    async with registered(hasty, limit=100 * left) as account:
        hasty.provider.script(
            *(Fault(usage=charge(tokens), kind="chat") for tokens in [*[DEAREST] * dear, rest] if tokens),
            Fault(usage=charge(CHEAPEST), kind="chat", times=ALWAYS),
        )
        for _ in range(dear + bool(rest)):
            assert (await account.ask(PROMPT, wait=30)).status_code == 200
        full, _ = await account.settled()
        statuses = [(await account.ask(PROMPT, wait=30)).status_code for _ in range(SEQUENTIAL)]
        end, _ = await account.settled()
        late = await account.ask(PROMPT)

    print(f"  {SEQUENTIAL} turns from {full['tokens_used']} of {full['token_limit']}: {statuses.count(429)} refused")
    assert full["tokens_used"] == full["token_limit"] * 99 // 100
    assert Counter(statuses) == {200: SEQUENTIAL}
    assert end["token_limit"] - end["tokens_used"] == turn - CHEAPEST
    assert refusal(late)[:2] == (429, "quota_exhausted")


async def test_tokens_taken_beyond_the_reservation_are_no_more_than_its_error_and_are_told(hasty: Stack) -> None:
    """M03: the provider counts a tenth more than we do."""
    hasty.provider.reset()
    hasty.provider.manners.pace = PACE  # slow enough for all to ask while the first are being answered
    hasty.provider.manners.answer = lambda _: WORDS
    turn = await reservation_of(hasty, PROMPT)
    taken, room = math.ceil(1.1 * turn), 10
    told = await overshot(hasty)
    async with registered(hasty, limit=room * turn) as account:
        hasty.provider.script(Fault(usage=charge(taken), kind="chat", times=ALWAYS))
        replies = await asyncio.gather(*(account.ask(PROMPT) for _ in range(2 * room)))
        admitted = [reply.json()["workflow_id"] for reply in replies if reply.status_code == 202]
        ended = await asyncio.gather(*map(account.finished, admitted))
        month, _ = await account.settled()
        late = await account.ask(PROMPT)

    beyond = month["tokens_used"] - month["token_limit"]
    print(f"  {beyond} tokens beyond a limit of {month['token_limit']}: {100 * beyond / month['token_limit']:.1f} %")
    assert {run["state"] for run in ended} == {"succeeded"}
    assert len(admitted) == room
    assert beyond == room * (taken - turn) > 0
    told_of = {event["run"]: (event["tokens"], event["reserved"]) for event in logged(hasty, account)}
    assert told_of == dict.fromkeys(admitted, (taken, turn))
    assert await overshot(hasty) - told == beyond
    assert refusal(late)[:2] == (429, "quota_exhausted")


class Stage:
    """Turns that end in every way; `speak` says when one has been heard by the provider."""

    def __init__(self) -> None:
        self._heard: dict[str, asyncio.Event] = {}

    def speak(self, ask: Ask) -> str:
        self._heard[said(ask).split()[-1]].set()
        return WORDS

    async def play(self, account: Account, kind: str, free: asyncio.Semaphore) -> str:
        """The state that a turn of this kind ended in."""
        async with free:
            word, key = new_id(), new_id()
            self._heard[word] = asyncio.Event()
            body = {"message": f"{kind} {word}", "use_rag": False, "max_tokens": 100}
            if kind == "left":
                await self._leave(account, body, word, key)
            run = (await account.ask(body, key=key)).json()
            if kind == "cancelled":
                await asyncio.wait_for(self._heard[word].wait(), PATIENCE)
                assert (await account.cancel(run["workflow_id"])).status_code == 202
            return str((await account.finished(run["workflow_id"]))["state"])

    async def _leave(self, account: Account, body: dict[str, object], word: str, key: str) -> None:
        """The client hangs up in the middle of its answer."""
        waiting = asyncio.create_task(account.ask(body, wait=30, key=key))
        await asyncio.wait_for(self._heard[word].wait(), PATIENCE)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


def said(ask: Ask) -> str:
    return str(ask.messages[-1]["content"]) if ask.messages else ""


def about(kind: str) -> Callable[[Ask], bool]:
    """Requests for a turn of this kind."""
    return lambda ask: said(ask).startswith(f"{kind} ")


def logged(stack: Stack, account: Account) -> list[dict[str, object]]:
    """The events `budget_overshot` of an account's turns."""
    lines = [line for file in (stack.home / "logs").glob("*.log") for line in file.read_text().splitlines()]
    events = [json.loads(line) for line in lines if '"budget_overshot"' in line]
    return [event for event in events if account.tenant in event["run"]]


async def overshot(stack: Stack) -> float:
    """Tokens, over all processes."""
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        pages = [(await http.get(url)).text for url in stack.metrics_urls]
    found = [re.findall(r"^moorage_overshot_tokens_total\S* (\S+)", page, re.MULTILINE) for page in pages]
    return sum(float(number) for numbers in found for number in numbers)
