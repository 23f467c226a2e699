"""Nothing outlives a launcher that is killed, and the next one finds what did."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.stack import background, state
from infra.stack.errors import AlreadyRunning
from infra.stack.identity import born, gone, lives
from infra.stack.leftovers import end_leftovers
from infra.stack.state import Life, Phase, Report, State

WAYS = ["watch", "signal"] if sys.platform == "linux" else ["watch"]  # only Linux has the signal

SUPERVISE = """
import asyncio, sys
from pathlib import Path
from infra.stack.process import Process
from infra.stack.supervisor import Supervisor
async def ready(): return True
async def main(folder, watch):
    supervisor = Supervisor(folder)
    sleep = ["/bin/sleep", "60"]
    await supervisor.start([Process(name="child", command=sleep, environment={}, ready=ready, watch=watch)])
    print(supervisor.statuses()[0].pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main(Path(sys.argv[1]), sys.argv[2] == "watch"))
"""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sleep", "60"], start_new_session=True) as process:
        yield process
        process.kill()


def ended_launcher(*children: Life) -> State:
    return State(Life(1, "long ago"), Report("here", Phase.READY), list(children))


@pytest.mark.parametrize("way", WAYS)
def test_no_child_outlives_a_supervisor_that_is_killed(tmp_path: Path, way: str) -> None:
    with subprocess.Popen([sys.executable, "-c", SUPERVISE, tmp_path, way], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout
        child = int(supervisor.stdout.readline())
        birth = born(child)

        supervisor.kill()

    assert birth
    assert gone(child, birth, patience=5)


def test_what_was_left_over_is_ended(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    state.write(tmp_path, ended_launcher(Life.of(sleeper.pid)))
    said: list[str] = []

    count = end_leftovers(tmp_path, said.append)

    assert count == 1
    assert sleeper.wait() < 0
    assert str(sleeper.pid) in said[0]


def test_a_later_process_with_the_same_id_is_left_alone(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    state.write(tmp_path, ended_launcher(Life(sleeper.pid, "before the last reboot")))

    count = end_leftovers(tmp_path, print)

    assert count == 0
    assert sleeper.poll() is None


def test_stopping_ends_what_a_killed_launcher_left(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    state.write(tmp_path, ended_launcher(Life.of(sleeper.pid)))

    found = background.stop(tmp_path)

    assert found
    assert sleeper.wait() < 0


def test_stopping_where_nothing_runs_is_no_error(tmp_path: Path) -> None:
    assert background.stop(tmp_path) is False


def test_a_process_that_waits_to_be_reaped_no_longer_lives() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    birth = born(process.pid)

    process.communicate(b"\n")

    assert birth
    assert not lives(process.pid, birth)


def test_a_home_has_one_launcher_at_a_time(tmp_path: Path) -> None:
    with state.hold(tmp_path):
        with pytest.raises(AlreadyRunning):
            with state.hold(tmp_path):
                pass

    with state.hold(tmp_path):  # free again
        pass


def test_a_written_state_is_read_back(tmp_path: Path) -> None:
    written = ended_launcher(Life(2, "then"))

    state.write(tmp_path, written)

    assert state.read(tmp_path) == written
