"""Starts processes, starts again what dies, and stops them in the reverse order of their start."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infra.stack.errors import DidNotStart
from infra.stack.process import Process, Running
from infra.stack.progress import Say, silence

FIRST_DELAY, LONGEST_DELAY = 0.2, 30.0  # seconds before a dead process is started again, doubling in between
SETTLED = 60.0  # seconds of life after which a death counts as the first one again


@dataclass(frozen=True, slots=True)
class Status:
    """One process as others see it; `pid` is 0 between a death and the next start."""

    name: str
    pid: int
    restarts: int
    ready: bool


class Supervisor:
    """`changed` is called whenever a status has changed, `say` with a line for people."""

    def __init__(
        self,
        logs: Path,
        *,
        changed: Callable[[], None] = lambda: None,
        say: Say = silence,
    ) -> None:
        self._logs = logs
        self._changed = changed
        self._say = say
        self._kept: dict[str, _Kept] = {}

    def statuses(self) -> list[Status]:
        """In the order of start."""
        return [kept.status() for kept in self._kept.values()]

    async def start(self, processes: Sequence[Process]) -> None:
        """All at once; returns when all are ready. Raises DidNotStart for the first that is not."""
        begun = [_Kept(process, self._logs, self._changed, self._say) for process in processes]
        self._kept |= {kept.spec.name: kept for kept in begun}
        try:
            async with asyncio.TaskGroup() as tasks:
                for kept in begun:
                    tasks.create_task(kept.start())
        except* DidNotStart as failures:
            raise failures.exceptions[0] from None

    async def run(self, process: Process) -> None:
        """A process that is to end by itself. Raises DidNotStart when it does not end with 0."""
        running = await Running.start(process, self._logs)
        try:
            await running.until_ready()
        finally:
            await running.stop()

    async def stop(self) -> None:
        """One after the other, the youngest first; safe to call again."""
        for kept in reversed(self._kept.values()):
            await kept.stop()

    async def pause(self, name: str) -> None:
        """Stop one process and leave it stopped."""
        await self._kept[name].stop()

    async def resume(self, name: str) -> None:
        """Start it again. Raises DidNotStart."""
        await self._kept[name].start()


class _Kept:
    """One process and everything that keeps it alive."""

    def __init__(self, spec: Process, logs: Path, changed: Callable[[], None], say: Say) -> None:
        self.spec = spec
        self._logs = logs
        self._changed = changed
        self._say = say
        self._running: Running | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._restarts = 0
        self._ready = False

    def status(self) -> Status:
        pid = self._running.pid if self._running else 0
        return Status(self.spec.name, pid, self._restarts, self._ready)

    async def start(self) -> None:
        await self._begin()
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        if self._keeper:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        await self._end()

    async def _begin(self) -> None:
        begun = time.monotonic()
        self._running = await Running.start(self.spec, self._logs)
        self._changed()
        await self._running.until_ready()
        self._ready = True
        self._changed()
        self._say(f"{self.spec.name} is ready ({time.monotonic() - begun:.1f} s)")

    async def _end(self) -> None:
        if self._running:
            await self._running.stop()
            self._running, self._ready = None, False
            self._changed()

    async def _keep(self) -> None:
        delay = FIRST_DELAY
        while True:
            assert self._running
            begun = time.monotonic()
            code = await self._running.wait()
            delay = FIRST_DELAY if time.monotonic() - begun > SETTLED else delay
            self._say(f"{self.spec.name} ended with code {code}; it is started again")
            delay = await self._revive(delay)

    async def _revive(self, delay: float) -> float:
        """Try until it is ready; returns how long to wait before the next attempt, if it dies soon."""
        while True:
            await self._end()  # what is left of its process group
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)
            self._restarts += 1
            try:
                await self._begin()
            except DidNotStart as failure:
                self._say(str(failure))
            else:
                return delay
