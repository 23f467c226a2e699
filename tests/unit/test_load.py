"""What one API takes for the backlog, between one look at the queue and the next."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

import api.load
from api.load import Load
from domain.accounts import Principal
from domain.errors import Overloaded
from domain.load import Backlog, Share
from infra.services import Services

WHO = Principal("tenant", "account")


class Queue:
    """Engine and runs: a queue that says how long it is when it is told to."""

    def __init__(self) -> None:
        self.looks = 0
        self.says = asyncio.Event()

    async def backlog(self, _queue: str) -> Backlog:
        self.looks += 1
        await self.says.wait()
        return Backlog(0, timedelta(0))

    async def share(self, _principal: Principal) -> Share:
        return Share(mine=9, tenants=1)


async def test_who_was_let_in_counts_until_a_look_has_seen_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.load, "LOOK", 0.0)
    queue = Queue()
    settings = SimpleNamespace(chat_backlog=2)
    load = Load(cast("Services", cast("Any", SimpleNamespace(settings=settings, engine=queue, runs=queue))))
    queue.says.set()
    await load.check(WHO)
    await asyncio.sleep(0)
    queue.says.clear()
    for _ in range(2):
        load.let_in()

    for _ in range(2):
        with pytest.raises(Overloaded):
            await load.check(WHO)
        await asyncio.sleep(0)
    queue.says.set()
    await asyncio.sleep(0.01)

    assert queue.looks == 2
    await load.check(WHO)
