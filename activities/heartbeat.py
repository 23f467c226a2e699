"""Heartbeat while something slow runs, so that a dead worker is noticed and a cancel arrives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from temporalio import activity

EVERY = 0.5  # seconds; the worker's throttle is the same


@asynccontextmanager
async def heartbeating(*details: int) -> AsyncIterator[None]:
    """Heartbeats on a timer until the block ends; does nothing outside an activity (graphs in unit tests).

    The next attempt finds the details only if the process died inside the block.
    """
    if not activity.in_activity():
        yield
        return
    beat = asyncio.create_task(_beat(*details))
    try:
        yield
    finally:
        beat.cancel()
        with suppress(asyncio.CancelledError):
            await beat
        if details:
            activity.heartbeat()


async def _beat(*details: int) -> None:
    while True:
        activity.heartbeat(*details)
        await asyncio.sleep(EVERY)
