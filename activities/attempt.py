"""Who an activity works for and which attempt it is."""

import uuid
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from temporalio import activity

from domain.accounts import Principal


def principal_of(ids: Mapping[str, Any]) -> Principal:
    """A run acts for who asked: the ids were taken from a verified token when it was admitted."""
    return Principal(ids["tenant"], ids["account"])


def operation_ids() -> Iterator[str]:
    """Names for the model calls of this attempt: run, activity, attempt and a number."""
    prefix = f"call:{uuid.uuid4()}"
    info = activity.info() if activity.in_activity() else None
    if info is not None and not info.is_local:  # a local one may be run again without another attempt being counted
        prefix = f"{info.workflow_run_id}:{info.activity_id}:{info.attempt}"
    return (f"{prefix}:{number}" for number in count())


def attempt() -> int:
    return activity.info().attempt if activity.in_activity() else 1


def cancelled_on_request() -> bool:
    """Somebody cancelled the run; a worker that shuts down or is too late cancels its steps as well."""
    details = activity.cancellation_details() if activity.in_activity() else None
    return details is not None and details.cancel_requested
