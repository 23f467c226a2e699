"""Refusals that teach nobody a pace: scenarios about what is counted need not wait for what is allowed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.faults.stack import Stack

EVERY = 0.2  # seconds


@asynccontextmanager
async def carefree(stack: Stack) -> AsyncIterator[None]:
    over = asyncio.Event()

    async def forget() -> None:
        while not over.is_set():
            await stack.unlimited()
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), EVERY)

    forgetting = asyncio.create_task(forget())
    try:
        yield
    finally:
        over.set()  # told, not cancelled: redis-py can swallow a cancel (its issue 2028), and this went on for ever
        await asyncio.gather(forgetting, return_exceptions=True)
