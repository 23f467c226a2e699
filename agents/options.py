"""How patient Temporal is with each kind of work, in one place.

A node takes its options as metadata; an activity outside a graph takes them as keyword arguments.
"""

from datetime import timedelta
from typing import Any

from temporalio.common import RetryPolicy

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


def node(**options: Any) -> dict[str, Any]:
    return {"execute_in": "activity", **options}


BEAT = 5 * SECOND  # with 2 s, turns of a worker that was only busy were taken for dead three times
LOCAL = {"execute_in": "workflow"}
QUICK: dict[str, Any] = {  # a short step is tried once where the workflow is; then it becomes an activity with patience
    "start_to_close_timeout": 2 * SECOND,
    "retry_policy": RetryPolicy(maximum_attempts=1),
}
DECISION = 5 * SECOND  # a worker that has a workflow and says nothing for so long has died

RECALL = node(
    start_to_close_timeout=5 * SECOND,
    schedule_to_close_timeout=10 * MINUTE,
    retry_policy=RetryPolicy(initial_interval=0.5 * SECOND, backoff_coefficient=1.0),
)
RETRIEVE = node(  # two searches of 2.5 s at most, and what stands beside
    start_to_close_timeout=10 * SECOND,
    schedule_to_close_timeout=60 * SECOND,
    retry_policy=RetryPolicy(initial_interval=0.5 * SECOND, maximum_interval=5 * SECOND),
)
BRIEF = 20 * SECOND  # for a call of which the turn can do without the reply
CONDENSE_CALLS = 2  # attempts that ask the model; the one after them goes on with the raw question
CONDENSE = node(
    start_to_close_timeout=BRIEF,
    heartbeat_timeout=BEAT,
    retry_policy=RetryPolicy(initial_interval=SECOND, maximum_attempts=CONDENSE_CALLS + 1),
)
SUMMARIZE_CALLS = 2  # the same; the attempt after them goes on without a new summary
SUMMARIZE = node(
    start_to_close_timeout=BRIEF,
    heartbeat_timeout=BEAT,
    retry_policy=RetryPolicy(initial_interval=SECOND, maximum_attempts=SUMMARIZE_CALLS + 1),
)
ANSWER = node(
    start_to_close_timeout=120 * SECOND,
    heartbeat_timeout=BEAT,
    retry_policy=RetryPolicy(initial_interval=SECOND, maximum_attempts=3),
)
DAY = timedelta(hours=24)
PARSE_DEATHS = 3  # workers that may die while they read a document before it is the one to blame
PARSE = node(
    start_to_close_timeout=120 * SECOND,
    heartbeat_timeout=BEAT,
    schedule_to_close_timeout=DAY,
    retry_policy=RetryPolicy(initial_interval=SECOND, maximum_interval=MINUTE),
)
STORE = node(  # embed, index, publish
    start_to_close_timeout=10 * MINUTE,
    heartbeat_timeout=BEAT,
    schedule_to_close_timeout=DAY,
    retry_policy=RetryPolicy(initial_interval=SECOND, maximum_interval=MINUTE),
)
FAULTS = 5  # attempts of a node that end in a fault of ours; a defect does not heal, so the run stops and shows it
PARKED_FOR = timedelta(days=14)
DISCARD: dict[str, Any] = {  # what it cannot take away in time is found by the hourly reconcile
    "start_to_close_timeout": 8 * SECOND,
    "heartbeat_timeout": BEAT,
    "schedule_to_close_timeout": 8 * SECOND,
    "retry_policy": RetryPolicy(initial_interval=0.5 * SECOND),
}
LAST_WRITES = 1.5 * SECOND  # a cancelled step hears of it within a second; one batch may be on its way
RECORD: dict[str, Any] = {  # usage, report: for ever
    "start_to_close_timeout": 10 * SECOND,
    "retry_policy": RetryPolicy(initial_interval=SECOND, maximum_interval=MINUTE),
}
SWEEP: dict[str, Any] = {  # the schedule comes again: a sweep that hangs must not hold up the next
    "start_to_close_timeout": 30 * SECOND,
    "retry_policy": RetryPolicy(initial_interval=SECOND, maximum_attempts=3),
}
REPLAY: dict[str, Any] = {  # one page of a replay of many
    "start_to_close_timeout": 2 * MINUTE,
    "heartbeat_timeout": 10 * SECOND,
    "retry_policy": RetryPolicy(initial_interval=SECOND, maximum_interval=MINUTE),
}
RECONCILE: dict[str, Any] = {  # one tenant; the schedule comes again, and one that fails is passed over
    "start_to_close_timeout": timedelta(hours=2),
    "heartbeat_timeout": 15 * SECOND,
    "retry_policy": RetryPolicy(initial_interval=5 * SECOND, maximum_attempts=3),
}

# What a whole run may take. An ingestion may be parked for 14 days, several times.
EXECUTION = {
    "ChatTurn": timedelta(hours=1),
    "IngestDocument": timedelta(days=60),
    "ReplayRuns": timedelta(days=1),
    "Sweep": timedelta(minutes=5),
    "Reconcile": timedelta(hours=24),
}
