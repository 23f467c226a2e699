"""Runs over HTTP: listed, looked at, waited for, cancelled."""

import asyncio

from domain.runs import State
from tests.platform import Platform, User
from tests.provider.script import Fault
from tests.provider.server import ScriptedProvider


async def test_runs_are_listed_newest_first_and_filtered_by_kind(user: User) -> None:
    uploaded = await user.upload("a.txt", b"The lock opens at six.")
    asked = await user.ask("When does the lock open?")

    everything = (await user.http.get("/api/v1/runs")).json()["items"]
    chats = (await user.http.get("/api/v1/runs", params={"kind": "chat"})).json()["items"]
    failed = (await user.http.get("/api/v1/runs", params={"state": "failed"})).json()["items"]

    assert [run["workflow_id"] for run in everything] == [asked["workflow_id"], uploaded["workflow_id"]]
    assert [run["workflow_id"] for run in chats] == [asked["workflow_id"]]
    assert failed == []
    assert all("step" not in run for run in everything)


async def test_an_unknown_run_is_404(user: User) -> None:
    response = await user.http.get(f"/api/v1/runs/chat:{user.tenant}:nowhere:1")

    assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_a_finished_run_cannot_be_cancelled(user: User) -> None:
    run = await user.upload("a.txt", b"The lock opens at six.")

    response = await user.http.post(f"/api/v1/runs/{run['workflow_id']}/cancel")

    assert (response.status_code, response.json()["code"]) == (409, "run_finished")


async def test_a_run_in_the_middle_of_an_answer_is_cancelled_within_seconds(
    talker: User, provider: ScriptedProvider
) -> None:
    await talker.upload("a.txt", b"The lock opens at six.")
    provider.reset()
    provider.script(Fault.hang(2))
    asked = (await talker.http.post("/api/v1/chat", json={"message": "When does the lock open?"})).json()
    await provider.until(lambda calls: len(calls) == 1)

    first = await talker.http.post(f"/api/v1/runs/{asked['workflow_id']}/cancel")
    run = await asyncio.wait_for(talker.finished(asked["workflow_id"]), timeout=10)
    again = await talker.http.post(f"/api/v1/runs/{asked['workflow_id']}/cancel")

    assert (first.status_code, again.status_code) == (202, 202)
    assert run["state"] == "cancelled"


async def test_a_run_shows_its_step_while_it_runs_and_why_it_waits(talker: User, provider: ScriptedProvider) -> None:
    await talker.upload("a.txt", b"The lock opens at six.")
    provider.reset()
    provider.script(Fault(status=503, kind="chat", retry_after=4), Fault.hang(1))
    asked = (await talker.http.post("/api/v1/chat", json={"message": "When does the lock open?"})).json()
    await provider.idle()

    waiting = await until_state(talker, asked["workflow_id"], "waiting")
    await provider.until(lambda calls: len(calls) == 2)
    running = await until_state(talker, asked["workflow_id"], "running")
    await talker.http.post(f"/api/v1/runs/{asked['workflow_id']}/cancel")
    await talker.finished(asked["workflow_id"])

    assert waiting["step"] == running["step"] == "answer"
    assert waiting["waiting_for"].startswith("provider_unavailable, next try ")
    assert running["attempt"] == 2


async def test_a_run_ended_by_hand_in_temporal_ends_a_wait(
    talking: Platform, talker: User, provider: ScriptedProvider
) -> None:
    await talker.upload("a.txt", b"The lock opens at six.")
    provider.reset()
    provider.script(Fault.hang(1))
    asked = (await talker.http.post("/api/v1/chat", json={"message": "When does the lock open?"})).json()
    await provider.until(lambda calls: len(calls) == 1)
    await talking.client.get_workflow_handle(asked["workflow_id"]).terminate("by hand")

    run = await asyncio.wait_for(talker.finished(asked["workflow_id"]), timeout=10)

    assert run["state"] == State.FAILED


async def until_state(user: User, workflow_id: str, state: str) -> dict:
    """A run's state is asked of Temporal: look until it is the one expected, at most 10 s."""
    async with asyncio.timeout(10):
        while True:
            run = (await user.http.get(f"/api/v1/runs/{workflow_id}")).json()
            if run["state"] == state:
                return run
            await asyncio.sleep(0.05)
