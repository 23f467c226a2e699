"""Kills, stops and continues processes by their id, and notes how long each needed to come back."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from infra.stack.errors import DidNotStart
from tests.faults.stack import Stack

LOOK = 0.05
HURRY = 0.6  # seconds; the supervisor's own delay doubles with each death, up to 30 s, which tests need not sit out


@dataclass(frozen=True, slots=True)
class Death:
    name: str
    pid: int
    seconds: float  # until its successor was ready


@dataclass
class Nemesis:
    stack: Stack
    deaths: list[Death] = field(default_factory=list)
    downs: int = 0  # deaths whose successor was held back
    held: set[str] = field(default_factory=set)  # processes that are to stay down

    def kill(self, name: str) -> int:
        """The id that was killed; 0 when nobody was there."""
        return self._signal(name, signal.SIGKILL)

    def terminate(self, name: str) -> int:
        return self._signal(name, signal.SIGTERM)

    def stop(self, name: str) -> int:
        return self._signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> int:
        return self._signal(name, signal.SIGCONT)

    @asynccontextmanager
    async def down(self, name: str) -> AsyncIterator[None]:
        """Killed, and not started again before the end of the block."""
        await self.all_down([name])
        try:
            yield
        finally:
            await self.insist(name)

    async def all_down(self, names: Sequence[str]) -> None:
        """All killed before any is missed, and none started again before `insist`."""
        self.held.update(names)
        self.downs += len(names)
        for name in names:
            self.kill(name)
        for name in names:
            await self.stack.supervisor.pause(name)

    async def insist(self, name: str, seconds: float = 60.0) -> None:
        """Start it again and again until what it needs is there."""
        async with asyncio.timeout(seconds):
            while True:
                with suppress(DidNotStart):
                    await self.stack.supervisor.resume(name)
                    self.held.discard(name)
                    return
                await self.stack.supervisor.pause(name)

    async def ready(self, *names: str, seconds: float = 60.0) -> None:
        """All of these, or all there are, answer."""
        async with asyncio.timeout(seconds):
            while not all(
                status.ready for status in self.stack.supervisor.statuses() if not names or status.name in names
            ):
                await asyncio.sleep(LOOK)

    async def gone(self, name: str, pid: int, seconds: float = 30.0) -> None:
        async with asyncio.timeout(seconds):
            while self.stack.pid(name) == pid:
                await asyncio.sleep(LOOK)

    async def harass(self, names: Sequence[str], every: tuple[float, float], seed: int) -> None:
        """Kill one of them again and again, until cancelled."""
        chance = random.Random(seed)
        while True:
            await asyncio.sleep(chance.uniform(*every))
            self.kill(chance.choice(names))

    async def watch(self) -> None:
        """Note each death and bring the dead back at once, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for status in self.stack.supervisor.statuses():
                tasks.create_task(self._attend(status.name))

    async def _attend(self, name: str) -> None:
        last = self.stack.pid(name)
        while True:
            await asyncio.sleep(LOOK)
            status = self.stack.status(name)
            if name in self.held or not last:
                last = status.pid if status.ready and name not in self.held else 0
            elif status.pid != last or not status.ready:
                died = time.monotonic()
                await self._revived(name, died)
                self.deaths.append(Death(name, last, time.monotonic() - died))
                last = self.stack.pid(name)

    async def _revived(self, name: str, died: float) -> None:
        while not self.stack.status(name).ready:
            if self.stack.pid(name) == 0 and time.monotonic() - died > HURRY and name not in self.held:
                self.held.add(name)
                await self.stack.supervisor.pause(name)
                await self.insist(name)
            await asyncio.sleep(LOOK)

    def _signal(self, name: str, number: signal.Signals) -> int:
        pid = self.stack.pid(name)
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return pid
