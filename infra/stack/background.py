"""Starts a home's stack in the background, and ends it from outside."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from infra.stack import state
from infra.stack.errors import StackError
from infra.stack.home import made
from infra.stack.identity import end, gone
from infra.stack.leftovers import end_leftovers
from infra.stack.logs import log_file
from infra.stack.platform import moorage
from infra.stack.progress import Say, silence
from infra.stack.state import Phase, Report

STOP_PATIENCE = 180.0  # seconds; what the processes may take to end by themselves, one after the other
LOOK = 0.1  # seconds between two looks at the state


def detach(home: Path, options: Sequence[str] = (), *, say: Say) -> Report:
    """Returns when everything is ready, also when it has been running before. Raises StackError.

    `options` are those of `moorage dev`; what the launcher says meanwhile is passed on.
    """
    if state.running(home):
        say(f"already running in {home}")
        return _join(home)
    log = log_file(made(home) / "logs", "supervisor")
    with log.open("a") as out, log.open() as lines:
        lines.seek(0, os.SEEK_END)
        child = subprocess.Popen(  # noqa: S603
            moorage("dev", "--home", str(home), *options),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        try:
            return _attend(home, child, lambda: _pass_on(lines, say))
        except BaseException:
            child.terminate()  # whoever interrupts the wait does not want half a stack
            child.wait(STOP_PATIENCE)
            raise


def stop(home: Path) -> bool:
    """End what runs in the home, in order, and what is left of it; false when there was nothing. Raises StackError."""
    last = state.read(home)
    if last is None or not last.running:
        return end_leftovers(home, silence) > 0
    launcher = last.supervisor
    os.kill(launcher.pid, signal.SIGTERM)
    if not gone(launcher.pid, launcher.birth, patience=STOP_PATIENCE):
        end(launcher.pid, launcher.birth)
    end_leftovers(home, silence)
    return True


def _attend(home: Path, child: subprocess.Popen[bytes], look: Callable[[], None]) -> Report:
    """Wait until the child has everything ready; when it gave way to a launcher that came first, join that one."""
    while True:
        ended = child.poll() is not None
        look()
        current = state.read(home)
        if current and current.running and current.supervisor.pid == child.pid:
            if current.report.phase is Phase.READY:
                return current.report
        elif ended:
            return _join(home)
        time.sleep(LOOK)


def _join(home: Path) -> Report:
    """Wait until the launcher that runs here has everything ready."""
    while (current := state.read(home)) and current.running:
        if current.report.phase is Phase.READY:
            return current.report
        time.sleep(LOOK)
    raise StackError(f"Moorage did not start in {home}. {home / 'logs' / 'supervisor.log'} says why.")


def _pass_on(lines: TextIO, say: Say) -> None:
    for line in lines.read().splitlines():
        say(line)
