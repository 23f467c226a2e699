"""Who comes with many waits in a lane of their own; nobody else does."""

import asyncio
from datetime import timedelta

import pytest

from api.lanes import Lanes
from domain.errors import Overloaded


class Crowd:
    """Whoever is inside stays until it is let out."""

    def __init__(self, found: Lanes, width: int = 2, patience: float = 30) -> None:
        self.inside: list[str] = []
        self._lanes = found
        self._width = width
        self._patience = patience
        self._doors: dict[str, asyncio.Event] = {}

    async def pass_through(self, name: str, key: str = "mine") -> None:
        async with self._lanes.enter(key, self._width, self._patience):
            self.inside.append(name)
            await self._doors.setdefault(name, asyncio.Event()).wait()
            self.inside.remove(name)

    async def come(self, *names: str, key: str = "mine") -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self.pass_through(name, key)) for name in names]
        await asyncio.sleep(0)
        return tasks

    async def let_out(self, *names: str) -> None:
        for name in names:
            self._doors.setdefault(name, asyncio.Event()).set()
        for _ in range(4):
            await asyncio.sleep(0)


async def test_so_many_at_once_pass_and_the_others_follow_in_their_order() -> None:
    crowd = Crowd(Lanes())
    tasks = await crowd.come("a", "b", "c", "d")
    assert crowd.inside == ["a", "b"]

    await crowd.let_out("b")
    assert crowd.inside == ["a", "c"]

    await crowd.let_out("a", "c", "d")
    await asyncio.gather(*tasks)


async def test_nobody_waits_for_others() -> None:
    crowd = Crowd(Lanes(), width=1)
    tasks = [*await crowd.come("a", "b"), *await crowd.come("c", key="yours")]

    assert crowd.inside == ["a", "c"]

    await crowd.let_out("a", "b", "c")
    await asyncio.gather(*tasks)


async def test_who_goes_away_while_waiting_takes_no_room() -> None:
    crowd = Crowd(Lanes(), width=1)
    first, second, third = await crowd.come("a", "b", "c")

    second.cancel()
    await crowd.let_out("a")

    assert crowd.inside == ["c"]
    await crowd.let_out("c")
    await asyncio.gather(first, third)


async def test_a_failure_makes_room() -> None:
    found = Lanes()
    for _ in range(3):
        with pytest.raises(KeyError):
            async with found.enter("mine", 1, 30):
                raise KeyError


async def test_who_finds_no_room_is_told_when_to_come_back() -> None:
    crowd = Crowd(Lanes(), width=1, patience=0.01)
    first, second = await crowd.come("a", "b")

    with pytest.raises(Overloaded) as told:
        await second

    assert told.value.retry_after == timedelta(seconds=2)
    await crowd.let_out("a")
    await first


async def test_an_empty_lane_is_gone() -> None:
    found = Lanes()
    async with found.enter("mine", 1, 30):
        assert len(found._lanes) == 1

    assert len(found._lanes) == 0
