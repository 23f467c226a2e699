"""Heartbeat while something slow runs, so that a dead worker is noticed and a cancel arrives."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from temporalio import activity

EVERY = 0.5  # seconds; the worker's throttle is the same


@asynccontextmanager
async def heartbeating(progress: Callable[[], object] | None = None) -> AsyncIterator[None]:
    """Heartbeats on a timer until the block ends; does nothing outside an activity (graphs in unit tests).

    `progress` is what the next attempt will find, from the beginning on. Without it there is nothing to tell before the
    step's first interval is over: a beat is a write of Temporal's, and most steps are shorter.
    """
    if not activity.in_activity():
        yield
        return
    beat = asyncio.create_task(_beat(progress))
    try:
        yield
    finally:
        beat.cancel()
        with suppress(asyncio.CancelledError):
            await beat


def survived() -> None:
    """Take back what the heartbeats of a block said: whoever dies inside it is the one to leave it behind."""
    if activity.in_activity():
        activity.heartbeat()


async def _beat(progress: Callable[[], object] | None) -> None:
    if progress is None:
        await asyncio.sleep(max(0.0, EVERY - _lasted()))
    while True:
        activity.heartbeat(*([progress()] if progress else []))
        await asyncio.sleep(EVERY)


def _lasted() -> float:
    """Seconds of this attempt so far, by two clocks that may differ."""
    return (datetime.now(UTC) - activity.info().started_time).total_seconds()
