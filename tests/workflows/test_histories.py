"""What the Temporal UI shows of a run: named steps, a metering child, and nobody's words."""

import json
from typing import Any

from temporalio.client import Client, WorkflowHistory

from infra.temporal import TemporalEngine
from tests.platform import Platform, User
from tests.provider.script import Fault
from tests.provider.server import ScriptedProvider

TEXT, QUESTION, ANSWER, PROVIDER = "xylophonic", "quixotically", "zymurgistic", "canary"


async def test_a_chat_run_shows_its_steps_by_name_and_its_usage_child(quiet: Platform, user: User) -> None:
    await user.upload("lock.txt", b"The lock opens at six in the morning.")
    answer = await user.ask("When does the lock open?")

    history = await finished_history(quiet.client, answer["workflow_id"])

    steps = [step for event in history.events if (step := step_of(event))]
    children = [
        event.start_child_workflow_execution_initiated_event_attributes.workflow_id
        for event in history.events
        if event.HasField("start_child_workflow_execution_initiated_event_attributes")
    ]
    assert steps == ["turn.recall", "turn.retrieve", "turn.answer"]
    assert children == [f"usage:{answer['workflow_id']}:{history.run_id}"]


async def test_no_history_holds_a_word_of_question_answer_or_document(
    talking: Platform, talker: User, provider: ScriptedProvider
) -> None:
    provider.reset()
    await talker.upload(f"{TEXT}.txt", f"The {TEXT} harbour opens at six.".encode(), title=f"{TEXT} title")
    provider.script(Fault(text=f"It opens at six, {ANSWER} [1].", kind="chat"))
    first = await talker.ask(f"When does the {TEXT} harbour open, {QUESTION}?")
    assert ANSWER in first["response"]["content"]
    await talker.ask(f"And {QUESTION} why?", conversation_id=first["conversation_id"])
    provider.script(Fault(status=400, kind="chat"))
    await talker.http.post(
        "/api/v1/chat", json={"message": f"Does the {TEXT} harbour refuse?"}, headers={"Prefer": "wait=60"}
    )

    histories = [
        history async for history in talking.client.list_workflows(f"TenantId = '{talker.tenant}'").map_histories()
    ]

    assert len(histories) >= 4
    for history in histories:
        recorded = b"".join(event.SerializeToString() for event in history.events).lower()
        for word in (TEXT, QUESTION, ANSWER, PROVIDER):
            assert word.encode() not in recorded


async def test_a_history_stays_small(quiet: Platform, user: User) -> None:
    """Ids, counts and codes only: about 1 kB a node."""
    await user.upload("lock.txt", b"The lock opens at six in the morning. " * 200)
    answer = await user.ask("When does the lock open?")

    history = await finished_history(quiet.client, answer["workflow_id"])

    assert sum(event.ByteSize() for event in history.events) < 12_000


async def test_a_schedule_is_made_once_however_often_it_is_asked_for(quiet: Platform) -> None:
    engine = TemporalEngine(quiet.client)

    for _ in range(2):
        await engine.schedule_sweeps()
        await engine.schedule_reconciling()

    schedules = [schedule.id async for schedule in await quiet.client.list_schedules()]
    assert sorted(schedules) == ["reconcile", "sweep"]


async def finished_history(client: Client, workflow_id: str) -> WorkflowHistory:
    """The answer is there before its run has closed."""
    handle = client.get_workflow_handle(workflow_id)
    await handle.result()
    return await handle.fetch_history()


def step_of(event: Any) -> str:
    """The name of the step that an event is about: an activity, or a local one, which leaves a marker."""
    if event.HasField("activity_task_scheduled_event_attributes"):
        return str(event.activity_task_scheduled_event_attributes.activity_type.name)
    if event.HasField("marker_recorded_event_attributes"):
        marker = json.loads(event.marker_recorded_event_attributes.details["data"].payloads[0].data)
        return str(marker["activity_type"])
    return ""
