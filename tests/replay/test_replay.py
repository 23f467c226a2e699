"""Replays are sacred: every saved history, and every history of this test run, must replay with today's code."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from tests.platform import Platform, User
from tests.replay.graphs import replayer
from workflows.worker import RUNNER

GOLDEN = sorted((Path(__file__).parent / "histories").glob("*.json"))


def started(path: Path) -> dict[str, Any]:
    """What the run was started with."""
    attributes: dict[str, Any] = json.loads(path.read_text())["events"][0]["workflowExecutionStartedEventAttributes"]
    return attributes


def history(path: Path) -> WorkflowHistory:
    """Under the run's own id: the ids of children are made from it."""
    return WorkflowHistory.from_json(started(path)["workflowId"], path.read_text())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
async def test_a_golden_history_replays(path: Path) -> None:
    await replayer(RUNNER).replay_workflow(history(path))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
async def test_a_golden_history_replays_within_the_sandbox(path: Path) -> None:
    """Workers go without it; what it forbids, a clock, chance, a file, is forbidden to workflows all the same."""
    await replayer(SandboxedWorkflowRunner()).replay_workflow(history(path))


def test_every_workflow_has_a_golden_history() -> None:
    types = {started(path)["workflowType"]["name"] for path in GOLDEN}

    assert types == {"ChatTurn", "IngestDocument", "Reconcile", "RecordUsage", "ReplayRuns", "Sweep"}


async def test_a_changed_order_of_steps_is_noticed() -> None:
    golden = next(path for path in GOLDEN if path.stem == "chat-succeeded")
    command = [sys.executable, "-m", "tests.replay.reordered", str(golden), started(golden)["workflowId"]]

    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(60):
        out, _ = await process.communicate()

    assert out.decode().split() == ["NondeterminismError"]


async def test_every_history_of_a_live_platform_replays(quiet: Platform, user: User) -> None:
    await user.upload("lock.txt", b"The lock opens at six in the morning.")
    first = await user.ask("When does the lock open?")
    await user.ask("And why?", conversation_id=first["conversation_id"])

    replayed = 0
    runs = quiet.client.list_workflows(f"TenantId = '{user.tenant}' AND ExecutionStatus != 'Running'")
    async with replayer(RUNNER).workflow_replay_iterator(runs.map_histories()) as results:
        async for result in results:
            assert result.replay_failure is None
            replayed += 1

    assert replayed >= 2
