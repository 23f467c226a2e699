"""The launcher as its user types it: start, kill parts of it, kill it, start again, stop, with nothing left over."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.stack.identity import born, lives

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

NAMES = {"temporal", "redis", "weaviate", "api", "worker-chat", "worker-chat-2", "worker-documents"}
LINKS = ("api_url", "temporal_ui_url", "temporal_address", "weaviate_url", "redis_url", "metrics_urls")

Report = dict[str, Any]


def moorage(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("moorage")), *words, "--home", str(home)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOORAGE_")}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=home.parent)


def started(home: Path, *options: str) -> Report:
    done = moorage("dev", "--detach", *options, home=home)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def status(home: Path) -> Report:
    return json.loads(moorage("status", "--json", home=home).stdout)


def process(report: Report, name: str) -> Report:
    return next(process for process in report["processes"] if process["name"] == name)


def lives_of(report: Report, home: Path) -> dict[int, str]:
    """Every process of the stack by id, the launcher included."""
    launcher = json.loads((home / "state.json").read_text())["supervisor"]["pid"]
    return {pid: born(pid) for pid in (launcher, *(process["pid"] for process in report["processes"]))}


def until(home: Path, **restarts: int) -> Report:
    """The first report, within 30 s, in which all is ready and these processes were restarted that often."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        report = status(home)
        counts = {process["name"]: process["restarts"] for process in report["processes"]}
        if all(process["ready"] for process in report["processes"]) and counts.items() >= restarts.items():
            return report
        time.sleep(0.3)
    raise AssertionError(report)


def survivors(processes: dict[int, str]) -> list[int]:
    """Those that are still there after a moment of grace."""
    deadline = time.monotonic() + 5
    while (left := [pid for pid, birth in processes.items() if lives(pid, birth)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    yield home
    moorage("stop", home=home)


def test_the_stack_starts_survives_deaths_and_stops_without_leftovers(home: Path) -> None:
    first = started(home)
    assert {process["name"] for process in first["processes"]} == NAMES
    assert all(httpx.get(url).is_success for url in (f"{first['api_url']}/readyz", *first["metrics_urls"]))
    assert Path(first["env_file"]).stat().st_mode & 0o777 == 0o600
    assert "@" not in first["redis_url"]
    assert json.loads(moorage("dev", "--detach", home=home).stdout) == status(home) == first

    for name in ("weaviate", "worker-chat"):
        os.kill(process(first, name)["pid"], signal.SIGKILL)
    revived = until(home, **{"weaviate": 1, "worker-chat": 1})
    assert process(revived, "weaviate")["pid"] != process(first, "weaviate")["pid"]
    assert process(revived, "api") == process(first, "api")

    processes = lives_of(revived, home)
    os.kill(next(iter(processes)), signal.SIGKILL)
    assert survivors(processes) == []
    assert moorage("status", home=home).returncode == 1

    second = started(home)
    assert {name: second[name] for name in LINKS} == {name: first[name] for name in LINKS}
    processes = lives_of(second, home)
    assert moorage("stop", home=home).returncode == 0
    assert survivors(processes) == []
    assert moorage("stop", home=home).returncode == 0


def test_several_apis_share_a_port_and_one_of_them_may_die(home: Path) -> None:
    report = started(home, "--workers", "2")
    names = {name for one in ("api", "worker-chat", "worker-documents") for name in (one, f"{one}-2")}
    assert {process["name"] for process in report["processes"]} == NAMES | names
    assert len(report["metrics_urls"]) == len(names)
    assert all(httpx.get(url).is_success for url in report["metrics_urls"])

    os.kill(process(report, "api-2")["pid"], signal.SIGKILL)
    assert {httpx.get(f"{report['api_url']}/readyz").status_code for _ in range(20)} == {200}
    revived = until(home, **{"api-2": 1})
    assert process(revived, "api") == process(report, "api")

    processes = lives_of(revived, home)
    assert moorage("stop", home=home).returncode == 0
    assert survivors(processes) == []


def test_production_refuses_to_start_with_the_development_key(home: Path) -> None:
    command = [str(Path(sys.executable).with_name("moorage")), "dev", "--detach", "--home", str(home)]

    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "MOORAGE_ENV": "production"}, cwd=home.parent
    )

    assert done.returncode != 0
    assert "MOORAGE_SECRET_KEY" in done.stderr
    assert not home.exists()
