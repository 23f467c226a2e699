"""(j) Where the time of one chat turn goes, from the times in its workflow's history: one question after the other."""

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from tests.bench.questions import question
from tests.bench.stack import Stack
from tests.bench.table import Figure, p

RUNS = 20  # a repeat
STEPS = (
    "request → workflow started: admission, commit, start",
    "→ its first task reaches the worker",
    "→ recall and retrieval, in that task",
    "→ the answer's activity reaches the worker",
    "→ the caller has the answer: call of the provider, commit, event",
    "→ metered and closed, when the caller has long gone",
)


async def measure(stack: Stack, repeats: int) -> list[Figure]:
    client = await Client.connect(stack.temporal_address)
    medians: dict[str, list[float]] = {name: [] for name in STEPS}
    for _ in range(repeats):
        turns = [await _turn(stack, client) for _ in range(RUNS)]
        for step, name in enumerate(STEPS):
            medians[name].append(p([times[step] for times in turns], 0.5))
    return [Figure(f"(j) {name}", "ms, p50", values) for name, values in medians.items()]


async def _turn(stack: Stack, client: Client) -> list[float]:
    """Milliseconds of each step."""
    asked = time.time()
    answer = await stack.ask(question())
    answered = time.time()
    handle = client.get_workflow_handle(answer["workflow_id"], run_id=answer["run_id"])
    await handle.result()
    *before, closed = _moments(list((await handle.fetch_history()).events))
    moments = [asked, *before, answered, closed]
    return [1000 * (later - earlier) for earlier, later in pairwise(moments)]


def _moments(events: Sequence[Any]) -> list[float]:
    """Started, first task taken, activity scheduled, activity taken, workflow closed; in seconds of the epoch."""
    wanted = [
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    ]
    return [_at(next(event for event in events if event.event_type == kind)) for kind in wanted]


def _at(event: Any) -> float:
    return float(event.event_time.ToNanoseconds()) / 1e9
