"""Replays are sacred: every saved history, and every history of this test run, must replay with today's code."""

import json
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.langgraph import LangGraphPlugin
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from agents.chat import chat_graph
from tests.platform import Platform, User
from tests.replay.graphs import Chat, replayer
from workflows.chat import ChatTurn

GOLDEN = sorted((Path(__file__).parent / "histories").glob("*.json"))


def history(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(path.stem, path.read_text())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
async def test_a_golden_history_replays(path: Path) -> None:
    await replayer().replay_workflow(history(path))


def test_every_workflow_has_a_golden_history() -> None:
    types = {
        json.loads(path.read_text())["events"][0]["workflowExecutionStartedEventAttributes"]["workflowType"]["name"]
        for path in GOLDEN
    }

    assert types == {"ChatTurn", "IngestDocument", "RecordUsage", "Sweep"}


async def test_a_changed_order_of_steps_is_noticed() -> None:
    golden = next(path for path in GOLDEN if path.stem == "chat-succeeded")

    class Swapped(Chat):
        pass

    def swapped() -> Any:
        graph = chat_graph(Swapped())
        graph.edges.remove(("__start__", "recall"))
        graph.add_edge("__start__", "retrieve")
        return graph

    changed = Replayer(
        workflows=[ChatTurn],
        plugins=[LangGraphPlugin(graphs={"chat": swapped()})],
        data_converter=replayer().config()["data_converter"],
    )

    with pytest.raises(NondeterminismError):
        await changed.replay_workflow(history(golden))


async def test_every_history_of_a_live_platform_replays(quiet: Platform, user: User) -> None:
    await user.upload("lock.txt", b"The lock opens at six in the morning.")
    first = await user.ask("When does the lock open?")
    await user.ask("And why?", conversation_id=first["conversation_id"])

    replayed = 0
    runs = quiet.client.list_workflows(f"TenantId = '{user.tenant}' AND ExecutionStatus != 'Running'")
    async with replayer().workflow_replay_iterator(runs.map_histories()) as results:
        async for result in results:
            assert result.replay_failure is None
            replayed += 1

    assert replayed >= 2
