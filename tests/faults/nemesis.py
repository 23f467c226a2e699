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
        self.held.add(name)
        self.kill(name)
        await self.stack.supervisor.pause(name)
        try:
            yield
        finally:
            await self.bring_up(name)

    async def bring_up(self, name: str) -> None:
        try:
            await self.stack.supervisor.resume(name)
        finally:
            self.held.discard(name)

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
                with suppress(DidNotStart):  # what it needs is down as well
                    await self.bring_up(name)
                died = time.monotonic() - HURRY / 2
            await asyncio.sleep(LOOK)

    def _signal(self, name: str, number: signal.Signals) -> int:
        pid = self.stack.pid(name)
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return pid
