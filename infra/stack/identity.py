"""Tells one process from a later one that got the same number: a process is its id and when it was born."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

BOOT = Path("/proc/sys/kernel/random/boot_id")


def born(pid: int) -> str:
    """When the process started, in whatever way the system says it; empty when there is none or it has ended."""
    if pid <= 0:
        return ""
    return _born_linux(pid) if sys.platform.startswith("linux") else _born_elsewhere(pid)


def lives(pid: int, birth: str) -> bool:
    """The very process is still there."""
    return bool(birth) and born(pid) == birth


def end(pid: int, birth: str, *, patience: float = 10.0) -> bool:
    """Kill the very process and its group, if it is a group's leader; true when it is gone."""
    if lives(pid, birth):
        with suppress(ProcessLookupError):
            (os.killpg if os.getpgid(pid) == pid else os.kill)(pid, signal.SIGKILL)
    return gone(pid, birth, patience=patience)


def gone(pid: int, birth: str, *, patience: float) -> bool:
    """Wait for its end, at most so many seconds; true when it has ended."""
    deadline = time.monotonic() + patience
    while lives(pid, birth) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not lives(pid, birth)


def _born_linux(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    state, ticks = fields[0], fields[19]
    return "" if state in "ZX" else f"{BOOT.read_text().strip()}:{ticks}"


def _born_elsewhere(pid: int) -> str:
    answer = subprocess.run(  # noqa: S603
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, birth = answer.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else birth.strip()
