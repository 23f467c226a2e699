"""Becomes the command it is given, after making sure that the command dies with its supervisor.

    python -I -S leash.py SUPERVISOR_PID NICE signal|watch COMMAND...

Linux kills a child whose parent dies when asked to. Elsewhere a twin process watches standard input, whose other
end only the supervisor holds: when that end closes, the supervisor is gone. The command keeps this process's id.
A program of its own, because code between fork and exec may deadlock in a process that has threads.
"""

import ctypes
import os
import select
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(supervisor: int, nice: int, command: list[str], *, watch: bool) -> None:
    if watch:
        _be_watched()
    else:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:  # it died before the promise was made
        os._exit(1)
    os.nice(nice)
    os.execvp(command[0], command)  # noqa: S606 - becoming the command is what this program is for


def _be_watched() -> None:
    """Fork the watcher; go on with /dev/null as standard input."""
    watched = os.getpid()
    if os.fork() == 0:
        _watch(watched)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _watch(watched: int) -> None:
    os.closerange(1, 3)
    while os.getppid() == watched:  # false as soon as the watched process has died: nobody else is ever killed
        readable, _, _ = select.select([0], [], [], 0.5)
        if readable and os.getppid() == watched:
            os.kill(watched, signal.SIGKILL)
            break
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[4:], watch=sys.argv[3] == "watch")
