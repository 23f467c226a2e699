"""What one API takes for the backlog, between one look at the queue and the next."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api.load import LOOK, Load
from domain.accounts import Principal
from domain.errors import Overloaded
from domain.load import Backlog, Share
from infra.services import Services
from tests.clock import Clock

WHO = Principal("tenant", "account")


class Queue:
    """Engine and runs: a queue of nobody, which is looked at when it is let go."""

    def __init__(self) -> None:
        self.reached, self.free, self.told = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def backlog(self, _queue: str) -> Backlog:
        self.reached.set()
        await self.free.wait()
        self.told.set()  # who waits for it comes after the look has ended: nothing more is waited for in it
        return Backlog(0, timedelta(0))

    async def share(self, _principal: Principal) -> Share:
        return Share(mine=9, tenants=1)


async def test_who_was_let_in_counts_until_a_look_has_seen_them() -> None:
    queue, clock = Queue(), Clock()
    settings = SimpleNamespace(chat_backlog=2)
    load = Load(cast("Services", cast("Any", SimpleNamespace(settings=settings, engine=queue, runs=queue))), clock)
    queue.free.set()
    await load.check(WHO)
    await queue.told.wait()
    for event in (queue.reached, queue.free, queue.told):
        event.clear()
    for _ in range(2):
        load.let_in()

    clock.now += 2 * LOOK
    with pytest.raises(Overloaded):
        await load.check(WHO)
    await queue.reached.wait()
    with pytest.raises(Overloaded):
        await load.check(WHO)
    queue.free.set()
    await queue.told.wait()

    await load.check(WHO)
