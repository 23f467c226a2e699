"""Runs a home's stack in this process until a signal comes."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path

from infra.settings import Settings
from infra.stack import state
from infra.stack.errors import StackError
from infra.stack.progress import Say
from infra.stack.stack import Stack
from infra.stack.state import Report

ECHO = 1.0  # seconds; `uv run` passes on a signal that the terminal has sent to both


async def run(settings: Settings, home: Path, *, say: Say, ready: Callable[[Report], None]) -> None:
    """Start everything, keep it alive until SIGINT, SIGTERM or SIGHUP, stop in order.

    `ready` is called once. Raises AlreadyRunning, StackError. Must run on the main thread. A second signal ends at
    once: the children die with this process.
    """
    with state.hold(home):
        stopping = _on_signals()
        stack = Stack(settings, home, say)
        error = ""
        try:
            if await _unless(stopping, stack.start()):
                ready(stack.report)
                await stopping.wait()
            say("stopping")
        except StackError as failure:
            error = str(failure)
            raise
        finally:
            await stack.stop(error)


def _on_signals() -> asyncio.Event:
    """Set by the first signal; the second ends the process without further ado."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    first = 0.0

    def signalled() -> None:
        nonlocal first
        if not stopping.is_set():
            first = loop.time()
            stopping.set()
        elif loop.time() - first > ECHO:
            os._exit(130)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, signalled)
    return stopping


async def _unless(stopping: asyncio.Event, starting: Coroutine[None, None, None]) -> bool:
    """True when it came to its end before the event; else it has been cancelled."""
    work, signalled = asyncio.create_task(starting), asyncio.create_task(stopping.wait())
    await asyncio.wait({work, signalled}, return_when=asyncio.FIRST_COMPLETED)
    signalled.cancel()
    if work.done():
        await work
        return True
    work.cancel()
    await asyncio.wait({work})
    return False
