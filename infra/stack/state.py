"""HOME/state.json: what runs, for whoever asks; HOME/lock: held for as long as a launcher lives."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from infra.stack.errors import AlreadyRunning
from infra.stack.home import made
from infra.stack.identity import born, lives


class Phase(StrEnum):
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Report:
    """Where everything is; the JSON object that `moorage dev --detach` and `status --json` print.

    URLs are without passwords, `processes` are `{name, pid, restarts, ready}`, `env_file` holds the secrets.
    """

    home: str
    phase: Phase
    api_url: str = ""
    temporal_ui_url: str = ""
    temporal_address: str = ""
    temporal_namespace: str = ""
    weaviate_url: str = ""
    redis_url: str = ""
    processes: list[dict[str, Any]] = field(default_factory=list)
    metrics_urls: list[str] = field(default_factory=list)
    env_file: str = ""

    def json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Life:
    """One process, beyond doubt."""

    pid: int
    birth: str

    @classmethod
    def of(cls, pid: int) -> "Life":
        return cls(pid, born(pid))

    @classmethod
    def own(cls) -> "Life":
        return cls.of(os.getpid())

    def lives(self) -> bool:
        return lives(self.pid, self.birth)


@dataclass(frozen=True, slots=True)
class State:
    """`error` says why the phase is `failed`."""

    supervisor: Life
    report: Report
    children: list[Life] = field(default_factory=list)
    error: str = ""

    @property
    def running(self) -> bool:
        return self.supervisor.lives()


def write(home: Path, state: State) -> None:
    """Never half-written."""
    draft = home / "state.json.new"
    draft.write_text(json.dumps(asdict(state), indent=2))
    draft.replace(home / "state.json")


def read(home: Path) -> State | None:
    """The last state written; None when nothing ever ran here."""
    try:
        known = json.loads((home / "state.json").read_text())
    except FileNotFoundError:
        return None
    report = known["report"]
    return State(
        supervisor=Life(**known["supervisor"]),
        report=Report(**{**report, "phase": Phase(report["phase"])}),
        children=[Life(**child) for child in known["children"]],
        error=known["error"],
    )


@contextmanager
def hold(home: Path) -> Iterator[None]:
    """The home is ours; the lock falls with this process. Raises AlreadyRunning."""
    with (made(home) / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"Moorage is already running in {home}") from None
        yield


def running(home: Path) -> bool:
    """A launcher lives here, whatever it is doing."""
    last = read(home)
    return last is not None and last.running
