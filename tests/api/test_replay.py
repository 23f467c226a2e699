"""A step that gives up parks its run; somebody mends the cause and replays, and only that step runs again."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from activities.runs import SweepActivities
from domain import names
from domain.accounts import Principal
from tests.api.test_admission import sweeper
from tests.platform import Platform, User
from tests.provider.script import Fault
from tests.provider.server import ScriptedProvider

LOCK = b"The harbour master opens the lock at six in the morning."
REFUSED = Fault(status=401, kind="embedding")


def long_text() -> bytes:
    """More chunks than one call embeds: each paragraph is a chunk of its own."""
    sentence = "The harbour master opens the lock at six in the morning and closes it when the tide turns."
    return "\n\n".join(f"Order {number}. " + " ".join([sentence] * 7) for number in range(70)).encode()


def principal_of(user: User) -> Principal:
    return Principal(user.tenant, user.account)


async def parked(user: User, provider: ScriptedProvider, data: bytes = LOCK, *, paid: int = 0) -> dict[str, Any]:
    """An ingestion whose provider refuses our key, after so many calls that it answered."""
    provider.script(*([Fault.none(paid)] if paid else []), REFUSED)
    return await user.upload("lock.txt", data, on_duplicate="new")


async def post(user: User, workflow_id: str, verb: str) -> tuple[int, dict[str, Any]]:
    response = await user.http.post(f"/api/v1/runs/{workflow_id}/{verb}")
    return response.status_code, response.json()


async def steps(handle: WorkflowHandle) -> Counter[str]:
    """How often each step was scheduled in the run's history."""
    history = await handle.fetch_history()
    return Counter(
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    )


async def until(condition: Any, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


async def chunks(platform: Platform, user: User, run: dict[str, Any]) -> int:
    services = platform.services
    key = names.version_key(run["document_id"], run["version"])
    return await services.store.count(principal_of(user), services.embedder.generation, key)


async def test_a_step_that_gives_up_parks_the_run_and_says_where_and_why(
    buying: Platform, buyer: User, provider: ScriptedProvider
) -> None:
    run = await parked(buyer, provider)
    document = (await buyer.http.get(f"/api/v1/documents/{run['document_id']}")).json()
    listed = (await buyer.http.get("/api/v1/documents", params={"state": "parked"})).json()["items"]
    runs = (await buyer.http.get("/api/v1/runs", params={"state": "parked"})).json()["items"]
    description = await buying.client.get_workflow_handle(run["workflow_id"]).describe()

    assert (run["state"], run["finished_at"], run["waiting_for"]) == ("parked", None, "retry signal")
    assert (run["error"]["code"], run["error"]["step"], run["error"]["retryable"]) == ("provider_auth", "embed", True)
    assert (document["state"], document["pending"]["state"]) == ("parked", "parked")
    assert [item["document_id"] for item in listed] == [run["document_id"]]
    assert [item["workflow_id"] for item in runs] == [run["workflow_id"]]
    attributes = {pair.key.name: pair.value for pair in description.typed_search_attributes}
    assert (attributes["IngestState"], attributes["FailedStep"]) == ("parked", "embed")
    assert attributes["ErrorType"] == "provider_auth"
    assert "ParkedAt" in attributes


async def test_a_replay_resumes_at_the_step_that_failed_and_buys_nothing_twice(
    buying: Platform, buyer: User, provider: ScriptedProvider
) -> None:
    run = await parked(buyer, provider, long_text(), paid=1)

    status, replayed = await post(buyer, run["workflow_id"], "replay")
    done = await buyer.finished(run["workflow_id"])
    handle = buying.client.get_workflow_handle(run["workflow_id"])

    assert (status, replayed["mode"], replayed["from_step"]) == (202, "resumed", "embed")
    assert replayed["run_id"] == run["run_id"]
    assert (done["state"], done["result"]["chunks"]) == ("succeeded", 70)
    bought = [len(call.body["input"]) for call in provider.calls if call.kind == "embedding" and call.status == 200]
    assert bought == [64, 6]
    assert await steps(handle) == Counter(
        {
            "documents.parse": 1,
            "documents.embed": 2,
            "documents.index": 1,
            "documents.publish": 1,
            "runs.report": 2,
        }
    )


async def test_a_run_may_park_more_than_once(buyer: User, provider: ScriptedProvider) -> None:
    run = await parked(buyer, provider)
    provider.script(REFUSED)

    await post(buyer, run["workflow_id"], "replay")
    again = await buyer.finished(run["workflow_id"])
    await post(buyer, run["workflow_id"], "replay")
    done = await buyer.finished(run["workflow_id"])

    assert (again["state"], done["state"]) == ("parked", "succeeded")


async def test_thirty_parked_documents_are_replayed_by_one_call_and_a_second_finds_nothing(
    buyer: User, provider: ScriptedProvider
) -> None:
    provider.script(Fault(status=401, kind="embedding", times=30))
    uploads = [buyer.upload(f"{number}.txt", LOCK + str(number).encode()) for number in range(30)]
    stopped = await asyncio.gather(*uploads)

    first = await replay_all(buyer)
    done = await asyncio.gather(*(buyer.finished(run["workflow_id"]) for run in stopped))
    second = await replay_all(buyer)

    assert {run["state"] for run in stopped} == {"parked"}
    assert (first["state"], first["progress"]["done"], first["progress"]["total"]) == ("succeeded", 30, 30)
    assert first["result"] == {"replayed": 30, "failed": 0}
    assert {run["state"] for run in done} == {"succeeded"}
    assert (second["state"], second["progress"]["done"], second["progress"]["total"]) == ("succeeded", 0, 0)


async def replay_all(user: User, **body: Any) -> dict[str, Any]:
    response = await user.http.post("/api/v1/runs/replay", json={"kind": "ingestion", **body})
    assert response.status_code == 202, response.text
    assert response.json()["kind"] == "replay"
    return await user.finished(response.json()["workflow_id"])


async def test_an_aborted_run_leaves_no_chunks_and_is_reset_to_the_step_that_failed(
    buying: Platform, buyer: User, provider: ScriptedProvider
) -> None:
    run = await parked(buyer, provider, long_text(), paid=1)

    aborted, _ = await post(buyer, run["workflow_id"], "abort")
    failed = await buyer.finished(run["workflow_id"], "failed")
    status, replayed = await post(buyer, run["workflow_id"], "replay")
    done = await buyer.finished(run["workflow_id"], "succeeded")
    handle = buying.client.get_workflow_handle(run["workflow_id"])

    assert (aborted, failed["error"]["code"], failed["error"]["step"]) == (202, "provider_auth", "embed")
    assert (status, replayed["mode"], replayed["from_step"]) == (202, "reset", "embed")
    assert replayed["run_id"] != run["run_id"]
    assert done["run_id"] == replayed["run_id"]
    bought = [len(call.body["input"]) for call in provider.calls if call.kind == "embedding" and call.status == 200]
    assert bought == [64, 6]
    assert (await steps(handle))["documents.parse"] == 1


@pytest.mark.parametrize("sent", [1, 2])
async def test_a_parked_run_is_cancelled_and_leaves_its_original_only(
    buying: Platform, buyer: User, provider: ScriptedProvider, sent: int
) -> None:
    run = await parked(buyer, provider, long_text(), paid=1)

    statuses = [(await post(buyer, run["workflow_id"], "cancel"))[0] for _ in range(sent)]
    done = await asyncio.wait_for(buyer.finished(run["workflow_id"], "cancelled"), 10)
    text = names.blob(run["document_id"], 1, "text")
    await until(lambda: gone(buying, buyer, text))

    assert (statuses, done["error"]) == ([202] * sent, None)
    assert await buying.services.blobs.exists(principal_of(buyer), names.blob(run["document_id"], 1, "original"))
    assert await chunks(buying, buyer, run) == 0


async def gone(platform: Platform, user: User, path: str) -> bool:
    return not await platform.services.blobs.exists(principal_of(user), path)


async def test_a_cancelled_ingestion_starts_again_from_the_beginning(
    buying: Platform, buyer: User, provider: ScriptedProvider
) -> None:
    run = await parked(buyer, provider)
    await post(buyer, run["workflow_id"], "cancel")
    await buyer.finished(run["workflow_id"], "cancelled")

    status, replayed = await post(buyer, run["workflow_id"], "replay")
    done = await buyer.finished(run["workflow_id"], "succeeded")

    assert (status, replayed["mode"], replayed["from_step"]) == (202, "restarted", "parse")
    assert await chunks(buying, buyer, done) == 1


async def test_a_run_in_the_middle_of_embedding_is_cancelled_within_seconds(
    buying: Platform, buyer: User, provider: ScriptedProvider
) -> None:
    provider.script(Fault.hang())
    response = await buyer.http.post("/api/v1/documents", files={"file": ("lock.txt", LOCK)})
    workflow_id = response.json()["workflow_id"]
    await provider.until(lambda calls: len(calls) == 1)

    await post(buyer, workflow_id, "cancel")
    done = await asyncio.wait_for(buyer.finished(workflow_id, "cancelled"), 10)

    assert done["state"] == "cancelled"


async def test_a_broken_file_fails_at_once_and_can_be_replayed(buyer: User) -> None:
    run = await buyer.upload("broken.pdf", b"%PDF-1.7 broken")

    status, replayed = await post(buyer, run["workflow_id"], "replay")
    again = await buyer.finished(run["workflow_id"], "failed")

    assert (run["state"], run["error"]["code"]) == ("failed", "corrupt_file")
    assert (status, replayed["mode"], replayed["from_step"]) == (202, "reset", "parse")
    assert again["run_id"] == replayed["run_id"]


async def test_a_run_ended_by_hand_is_closed_by_the_sweeper_and_replayed(
    buying: Platform, buyer: User, provider: ScriptedProvider
) -> None:
    provider.script(Fault.hang())
    response = await buyer.http.post("/api/v1/documents", files={"file": ("lock.txt", LOCK)})
    workflow_id = response.json()["workflow_id"]
    await provider.until(lambda calls: len(calls) == 1)
    await buying.client.get_workflow_handle(workflow_id).terminate("by hand")

    await sweeper(buying.services).sweep()
    closed = await buyer.finished(workflow_id, "failed")
    _, replayed = await post(buyer, workflow_id, "replay")
    done = await buyer.finished(workflow_id, "succeeded")

    assert (closed["error"]["code"], replayed["mode"]) == ("terminated", "restarted")
    assert done["run_id"] == replayed["run_id"]


async def test_a_replay_that_was_admitted_and_never_done_is_done_by_the_sweeper(
    buying: Platform, buyer: User, provider: ScriptedProvider
) -> None:
    """The API died between taking the outcome back and the reset."""
    run = await buyer.upload("broken.pdf", b"%PDF-1.7 broken")
    await buying.services.runs.reopen(principal_of(buyer), run["workflow_id"], run["run_id"])

    await sweeper(buying.services).sweep()
    await sweeper(buying.services).sweep()
    done = await buyer.finished(run["workflow_id"], "failed")

    assert done["run_id"] != run["run_id"]
    assert done["error"]["code"] == "corrupt_file"


async def test_the_sweeper_writes_down_a_parked_run_that_its_row_does_not_know(
    buying: Platform, buyer: User, provider: ScriptedProvider
) -> None:
    run = await parked(buyer, provider)
    await buying.services.runs.resume(principal_of(buyer), run["workflow_id"])

    await sweeper(buying.services).sweep()
    command = await buying.services.runs.command(principal_of(buyer), run["workflow_id"])

    assert command.parked is not None
    assert (command.parked.step, command.parked.code) == ("embed", "provider_auth")


async def test_the_sweeper_settles_what_a_run_closed_without_settling(
    buying: Platform, buyer: User, provider: ScriptedProvider
) -> None:
    """A failed ingestion that had bought embeddings."""
    run = await parked(buyer, provider, long_text(), paid=1)
    await post(buyer, run["workflow_id"], "abort")
    await buyer.finished(run["workflow_id"], "failed")
    services = buying.services
    ours: SweepActivities = sweeper(services)

    await ours.sweep()

    left = await services.registry.unsettled(ours.overlooked, 1000)
    assert run["workflow_id"] not in {command.workflow_id for command in left}


async def test_what_is_not_stopped_cannot_be_replayed_or_aborted(buyer: User) -> None:
    run = await buyer.upload("lock.txt", LOCK)
    chat = await buyer.ask("When does the lock open?")

    for workflow_id in (run["workflow_id"], chat["workflow_id"]):
        for verb in ("replay", "abort"):
            status, problem = await post(buyer, workflow_id, verb)
            assert (status, problem["code"]) == (409, "run_finished")


async def test_a_foreign_parked_run_is_404(buying: Platform, buyer: User, provider: ScriptedProvider) -> None:
    run = await parked(buyer, provider)
    stranger = await buying.user()

    answers = [await post(stranger, run["workflow_id"], verb) for verb in ("replay", "abort", "cancel")]

    assert [status for status, _ in answers] == [404, 404, 404]
