"""A budget admits what it has room for, whoever asks at once and through whichever API; nobody takes more of it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from domain.usage import TURNS_END, next_month
from tests.faults.account import charge, refusal, registered, reservation_of
from tests.faults.conftest import SEED
from tests.faults.stack import Stack, launched
from tests.postgres import Postgres
from tests.provider.script import Fault

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

ROOM = 25  # turns
ALWAYS = 10**9
QUESTION = {"message": "Is there room for me?", "use_rag": False, "max_tokens": 100}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
async def replicated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres: Postgres
) -> AsyncIterator[Stack]:
    """Two APIs and one worker that answers, and waits for the provider until everybody has been let in or refused."""
    patience = {"MOORAGE_FIRST_TOKEN_SECONDS": "110"}
    database = {"MOORAGE_DATABASE_URL": await postgres.empty()} if request.param == "postgres" else {}
    home = tmp_path_factory.mktemp("replicated") / "home"
    async with launched(home, seed=SEED, spare=False, apis=2, **patience, **database) as running:
        yield running


@pytest.mark.parametrize("crowd", [100, pytest.param(400, marks=pytest.mark.faults)])
async def test_of_a_crowd_as_many_are_admitted_as_the_budget_has_room_for(replicated: Stack, crowd: int) -> None:
    """M02."""
    turn = await reservation_of(replicated, QUESTION)
    async with registered(replicated, limit=ROOM * turn) as account:
        replicated.provider.script(Fault(usage=charge(turn), kind="chat", times=ALWAYS))
        replicated.proxies["provider"].stall()
        try:
            replies = await asyncio.gather(*(account.ask(QUESTION, through=number) for number in range(crowd)))
            busy = await account.usage()
        finally:
            await replicated.proxies["provider"].heal()
        admitted = [reply for reply in replies if reply.status_code == 202]
        refused = [reply for reply in replies if reply.status_code != 202]
        ended = await asyncio.gather(*(account.finished(reply.json()["workflow_id"]) for reply in admitted))
        settled, seconds = await account.settled()
        late = await account.ask(QUESTION)

    print(
        f"  {crowd} at once: {len(admitted)} admitted, {len(account.busy)} times 503 first,"
        f" used {settled['tokens_used']} of {settled['token_limit']}, settled in {seconds:.1f} s"
    )
    outcomes = Counter((run["state"], run["error"] and run["error"]["code"]) for run in ended)
    assert outcomes == {("succeeded", None): ROOM}
    assert (busy["tokens_used"], busy["tokens_reserved"]) == (0, ROOM * turn)
    assert Counter(map(refusal, refused)) == {(429, "quota_exhausted", int(TURNS_END.total_seconds())): crowd - ROOM}
    assert (settled["tokens_used"], settled["tokens_reserved"]) == (ROOM * turn, 0)
    status, code, again = refusal(late)
    now = datetime.now(UTC)
    assert (status, code) == (429, "quota_exhausted")
    assert abs(again - (next_month(now) - now).total_seconds()) < 10
