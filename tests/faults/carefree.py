"""Refusals that teach nobody a pace: scenarios about what is counted need not wait for what is allowed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.faults.stack import Stack

EVERY = 0.2  # seconds


@asynccontextmanager
async def carefree(stack: Stack) -> AsyncIterator[None]:
    async def forget() -> None:
        while True:
            await stack.unlimited()
            await asyncio.sleep(EVERY)

    forgetting = asyncio.create_task(forget())
    try:
        yield
    finally:
        forgetting.cancel()
        await asyncio.gather(forgetting, return_exceptions=True)
