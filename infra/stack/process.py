"""What the supervisor needs to know about one process, and the process itself once it runs."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from infra.stack.errors import DidNotStart
from infra.stack.logs import log_file, tail

LEASH = Path(__file__).with_name("leash.py")
WATCH = not sys.platform.startswith("linux")  # no parent-death signal there
LOOK = 0.1  # seconds between two looks at whether a process is ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """`ready` is one look: true when the process really answers. A process without it is ready when it ends with 0."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    ready: Callable[[], Awaitable[bool]] | None = None
    nice: int = 0
    patience: float = 60.0  # seconds to become ready
    grace: float = 10.0  # seconds to end by itself when asked to
    watch: bool = WATCH


class Running:
    """One start of a process."""

    def __init__(self, spec: Process, child: asyncio.subprocess.Process, log: Path) -> None:
        self.spec = spec
        self.pid = child.pid
        self._child = child
        self._log = log

    @classmethod
    async def start(cls, spec: Process, logs: Path) -> "Running":
        """Must be called on the main thread: Linux ties the parent-death signal to the thread that forks."""
        log = log_file(logs, spec.name)
        leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(spec.nice)]
        with log.open("ab") as out:
            child = await asyncio.create_subprocess_exec(
                *leash,
                "watch" if spec.watch else "signal",
                *spec.command,
                env=spec.environment,
                stdin=asyncio.subprocess.PIPE if spec.watch else asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C in the terminal reaches the supervisor only, which stops in order
            )
        return cls(spec, child, log)

    async def wait(self) -> int:
        """The exit code."""
        return await self._child.wait()

    async def until_ready(self) -> None:
        """Raises DidNotStart, with the end of the log, when the process ends or its patience does."""
        try:
            async with asyncio.timeout(self.spec.patience):
                await (self._answers() if self.spec.ready else self._succeeds())
        except TimeoutError:
            raise self._failure(f"did not answer within {self.spec.patience:.0f} s") from None

    async def _answers(self) -> None:
        assert self.spec.ready
        while not await self.spec.ready():
            if self._child.returncode is not None:
                raise self._failure(f"ended with code {self._child.returncode}")
            await asyncio.sleep(LOOK)
        if self._child.returncode is not None:  # something else answered in its place
            raise self._failure(f"ended with code {self._child.returncode}")

    async def _succeeds(self) -> None:
        if code := await self.wait():
            raise self._failure(f"ended with code {code}")

    async def stop(self) -> None:
        """Ask, wait, then insist; whatever it left in its process group ends too."""
        if self._child.returncode is None:
            self._signal(signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._child.wait(), self.spec.grace)
        self._signal(signal.SIGKILL)
        await self._child.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses when only a zombie is left
            os.killpg(self.pid, number)

    def _failure(self, what: str) -> DidNotStart:
        end = tail(self._log)
        return DidNotStart(f"{self.spec.name} {what}. {self._log}:\n{end}" if end else f"{self.spec.name} {what}.")
