"""The supervisor with tiny programs in place of servers."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infra.stack.errors import DidNotStart
from infra.stack.identity import born, gone
from infra.stack.process import Process
from infra.stack.supervisor import Status, Supervisor

# Says its name when it is asked to end, after having said that it is there.
PROGRAM = """
import signal, sys, time
from pathlib import Path
name, folder = sys.argv[1], Path(sys.argv[2])
def end(*_):
    with (folder / "ends").open("a") as file:
        file.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
(folder / name).touch()
while True:
    time.sleep(60)
"""
STUBBORN = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)
(Path(sys.argv[2]) / sys.argv[1]).touch()
time.sleep(60)
"""


class Folder:
    """Makes processes whose readiness is a file in the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.changes = asyncio.Condition()
        self.supervisor = Supervisor(path / "logs", changed=self._changed)
        self._tasks: set[asyncio.Task[None]] = set()

    def process(self, name: str, program: str = PROGRAM, **options: Any) -> Process:
        async def ready() -> bool:
            return (self.path / name).exists()

        command = [sys.executable, "-I", "-S", "-c", program, name, str(self.path)]
        return Process(name=name, command=command, environment={}, **{"ready": ready, **options})

    def status(self, name: str) -> Status:
        return next(status for status in self.supervisor.statuses() if status.name == name)

    async def until_restarted(self, name: str, times: int) -> Status:
        async with asyncio.timeout(20), self.changes:
            await self.changes.wait_for(lambda: self.status(name).ready and self.status(name).restarts == times)
        return self.status(name)

    def _changed(self) -> None:
        task = asyncio.create_task(self._tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self) -> None:
        async with self.changes:
            self.changes.notify_all()


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Folder]:
    folder = Folder(tmp_path)
    yield folder
    await folder.supervisor.stop()


async def test_a_process_that_is_killed_is_started_again_and_counted(folder: Folder) -> None:
    await folder.supervisor.start([folder.process("one")])
    first = folder.status("one")

    os.kill(first.pid, signal.SIGKILL)
    second = await folder.until_restarted("one", times=1)
    os.kill(second.pid, signal.SIGKILL)
    third = await folder.until_restarted("one", times=2)

    assert len({first.pid, second.pid, third.pid}) == 3


async def test_processes_are_stopped_youngest_first(folder: Folder) -> None:
    await folder.supervisor.start([folder.process("store")])
    await folder.supervisor.start([folder.process("worker"), folder.process("api")])

    await folder.supervisor.stop()

    assert (folder.path / "ends").read_text().split() == ["api", "worker", "store"]


async def test_nothing_is_left_after_a_stop(folder: Folder) -> None:
    await folder.supervisor.start([folder.process("one"), folder.process("two")])
    pids = [status.pid for status in folder.supervisor.statuses()]

    await folder.supervisor.stop()

    assert [born(pid) for pid in pids] == ["", ""]


async def test_a_process_that_does_not_end_by_itself_is_ended(folder: Folder) -> None:
    await folder.supervisor.start([folder.process("stubborn", STUBBORN, grace=0.1)])
    pid = folder.status("stubborn").pid

    await folder.supervisor.stop()

    assert born(pid) == ""


async def test_what_a_process_has_started_ends_with_it(folder: Folder) -> None:
    program = f"""
import subprocess, sys
child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
{PROGRAM}"""
    await folder.supervisor.start([folder.process("parent", program)])
    grandchild = int((folder.path / "logs" / "parent.log").read_text())
    birth = born(grandchild)

    await folder.supervisor.stop()

    assert birth
    assert gone(grandchild, birth, patience=5)


async def test_a_process_that_ends_before_it_is_ready_is_reported_with_its_last_words(folder: Folder) -> None:
    broken = folder.process("broken", "import sys; sys.exit('no licence')")

    with pytest.raises(DidNotStart, match=r"broken ended with code 1(?s:.)*no licence"):
        await folder.supervisor.start([broken])


async def test_a_process_that_stays_silent_is_reported(folder: Folder) -> None:
    silent = folder.process("silent", "import time; time.sleep(60)", patience=0.3)

    with pytest.raises(DidNotStart, match="silent did not answer within"):
        await folder.supervisor.start([silent])


async def test_a_step_that_fails_is_reported(folder: Folder) -> None:
    migrate = folder.process("migrate", "import sys; sys.exit('no such table')", ready=None)

    with pytest.raises(DidNotStart, match="no such table"):
        await folder.supervisor.run(migrate)


async def test_a_paused_process_stays_away_until_it_is_resumed(folder: Folder) -> None:
    await folder.supervisor.start([folder.process("one")])
    pid = folder.status("one").pid

    await folder.supervisor.pause("one")
    paused = folder.status("one")
    await folder.supervisor.resume("one")

    assert born(pid) == ""
    assert (paused.ready, paused.restarts) == (False, 0)
    assert folder.status("one").ready


async def test_a_process_runs_as_nice_as_it_is_told(folder: Folder) -> None:
    await folder.supervisor.start([folder.process("nice", nice=10)])

    assert os.getpriority(os.PRIO_PROCESS, folder.status("nice").pid) == os.nice(0) + 10
