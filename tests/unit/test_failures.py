"""What a turn fails with when a step has no time left."""

from datetime import timedelta

import pytest
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, RetryState, TimeoutType
from temporalio.exceptions import TimeoutError as OutOfTime

from agents.options import ANSWER
from workflows.failures import Failure, failure_of


def failed(step: str, cause: FailureError) -> ActivityError:
    error = ActivityError(
        "failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="worker",
        activity_type=f"turn.{step}",
        activity_id="1",
        retry_state=RetryState.MAXIMUM_ATTEMPTS_REACHED,
    )
    error.__cause__ = cause
    return error


def late(last: ApplicationError | None = None) -> OutOfTime:
    error = OutOfTime("late", type=TimeoutType.START_TO_CLOSE, last_heartbeat_details=[])
    error.__cause__ = last
    return error


def test_an_answer_has_120_seconds_three_times() -> None:
    assert ANSWER["start_to_close_timeout"] == timedelta(seconds=120)
    assert ANSWER["retry_policy"].maximum_attempts == 3


@pytest.mark.parametrize(
    ("step", "last", "code"),
    [
        ("answer", None, "deadline_exceeded"),
        ("retrieve", None, "store_unavailable"),
        ("answer", ApplicationError("provider_unavailable"), "provider_unavailable"),
    ],
)
def test_a_step_that_runs_out_of_time_says_so(step: str, last: ApplicationError | None, code: str) -> None:
    assert failure_of(failed(step, late(last))) == Failure(code, step)
