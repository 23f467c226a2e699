"""Take a closed run back to the step that failed: a new run with the old one's history up to there."""

from dataclasses import dataclass
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle

from agents import documents

# A publish is taken back to the index: what had been written there was taken away when the run gave up.
BACK_TO = {"publish": "index"}
OLD_WORDS = (  # the old run's `abort` was not meant for the new one
    ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL,
    ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE,
    ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_CANCEL_REQUEST,
)


@dataclass(frozen=True, slots=True)
class Reset:
    run_id: str
    step: str


async def reset_to_failed_step(client: Client, closed: WorkflowHandle[Any, Any]) -> Reset | None:
    """None when no step failed in it. Repeated for the same closed run it gives the same new run."""
    events = {event.event_id: event async for event in closed.fetch_history_events()}
    failed = _last_failed(events)
    if failed is None:
        return None
    step = _step(failed)
    back = _last_scheduled(events, BACK_TO.get(step, step)) or failed
    scheduled = back.activity_task_scheduled_event_attributes
    reply = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=closed.id, run_id=closed.run_id or ""),
            workflow_task_finish_event_id=scheduled.workflow_task_completed_event_id,
            reason=f"replay from {step}",
            request_id=f"replay:{closed.run_id}",
            reset_reapply_exclude_types=OLD_WORDS,
        )
    )
    return Reset(reply.run_id, _step(back))


def _last_failed(events: dict[int, HistoryEvent]) -> HistoryEvent | None:
    """The scheduling of the last step of the graph that failed or ran out of time."""
    for event in reversed(events.values()):
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED:
            scheduled = events[event.activity_task_failed_event_attributes.scheduled_event_id]
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
            scheduled = events[event.activity_task_timed_out_event_attributes.scheduled_event_id]
        else:
            continue
        if _step(scheduled) in documents.STEPS:
            return scheduled
    return None


def _last_scheduled(events: dict[int, HistoryEvent], step: str) -> HistoryEvent | None:
    scheduled = (
        event for event in reversed(events.values()) if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    )
    return next((event for event in scheduled if _step(event) == step), None)


def _step(scheduled: HistoryEvent) -> str:
    """The node's name; other activities have none of the graph's."""
    graph, _, node = scheduled.activity_task_scheduled_event_attributes.activity_type.name.partition(".")
    return node if graph == documents.NAME else ""
