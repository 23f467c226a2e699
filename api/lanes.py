"""At most so many of a tenant's requests at once: its further ones wait in their order, other tenants' do not."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from datetime import timedelta
from weakref import WeakValueDictionary

from domain.errors import Overloaded

AGAIN = timedelta(seconds=2)


class Lanes:
    """A lane each, with room for so many at once; further ones wait in their order. A lane that is empty is gone."""

    def __init__(self) -> None:
        self._lanes: WeakValueDictionary[Hashable, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def enter(self, key: Hashable, width: int, patience: float) -> AsyncIterator[None]:
        """Raises Overloaded when there was no room for so many seconds."""
        lane = self._lanes.setdefault(key, asyncio.Semaphore(width))
        try:
            async with asyncio.timeout(patience):
                await lane.acquire()
        except TimeoutError:
            raise Overloaded(retry_after=AGAIN) from None
        try:
            yield
        finally:
            lane.release()
