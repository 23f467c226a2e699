"""Our own processes: migrations once, then the API and the workers of each queue, one or several of each."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from domain.names import CHAT_QUEUE, DOCUMENTS_QUEUE
from infra.settings import DEV_KEY, Settings
from infra.stack.addresses import Addresses
from infra.stack.envfile import EnvFile
from infra.stack.ports import Ports
from infra.stack.probes import answering
from infra.stack.process import Process

NICE = {CHAT_QUEUE: 0, DOCUMENTS_QUEUE: 10}  # embedding a document must not slow down who waits for an answer
API = "api"
# Unless the operator says how many. A worker is one Python process and fills one core at most; two answer 1.3 times as
# many questions on two cores, and a third one fewer again.
USUAL = {API: 1, CHAT_QUEUE: 2, DOCUMENTS_QUEUE: 1}
GRACE = {CHAT_QUEUE: 15.0, DOCUMENTS_QUEUE: 65.0}  # seconds; the worker itself waits 10 and 60 for its activities


def moorage(*words: str) -> list[str]:
    """A command line that runs one of our commands with this very installation."""
    script = Path(sys.executable).with_name("moorage")
    return [str(script), *words] if script.exists() else [sys.executable, "-m", "cli.main", *words]


class Platform:
    """The ports and processes of one home."""

    def __init__(self, settings: Settings, home: Path, ports: Ports, env: EnvFile, addresses: Addresses) -> None:
        fixed = settings.port if "port" in settings.model_fields_set else 0
        self._port = ports.port(API, fixed=fixed)
        self._apis = numbered(API, settings.workers or USUAL[API])
        self._workers = {
            name: queue for queue in GRACE for name in numbered(f"worker-{queue}", settings.workers or USUAL[queue])
        }
        apis = self._apis if len(self._apis) > 1 else []  # one is found at the API's own port
        self._own_ports = {name: ports.port(f"{name}-metrics") for name in (*apis, *self._workers)}
        self._environment = {
            **os.environ,
            **addresses.environment(),
            **own_secret(settings, env),
            "MOORAGE_HOME": str(home),
            "MOORAGE_PORT": str(self._port),
        }
        host = "127.0.0.1" if settings.host in {"", "0.0.0.0", "::"} else settings.host  # noqa: S104
        self.api_url = f"http://{host}:{self._port}"
        self.metrics_urls = [
            *([] if apis else [f"{self.api_url}/metrics"]),
            *(f"{self._own_url(name)}/metrics" for name in self._own_ports),
        ]

    def migrate(self) -> Process:
        return Process(name="migrate", command=moorage("migrate"), environment=self._environment, patience=300)

    def processes(self) -> list[Process]:
        """In the order of start, which is the reverse of the order in which they are stopped."""
        workers = [self._worker(name, queue) for name, queue in self._workers.items()]
        return [*reversed(workers), *map(self._api, self._apis)]

    def _api(self, name: str) -> Process:
        return Process(
            name=name,
            command=moorage("api"),
            environment=self._environment_of(name),
            ready=answering(f"{self._own_url(name)}/readyz"),
            patience=90,
            grace=20,
        )

    def _worker(self, name: str, queue: str) -> Process:
        return Process(
            name=name,
            command=moorage("worker", "--queue", queue),
            environment=self._environment_of(name),
            ready=answering(f"{self._own_url(name)}/metrics"),
            nice=NICE[queue],
            patience=90,
            grace=GRACE[queue],
        )

    def _environment_of(self, name: str) -> Mapping[str, str]:
        return {**self._environment, "MOORAGE_METRICS_PORT": str(self._own_ports.get(name, 0))}

    def _own_url(self, name: str) -> str:
        """Where this process answers, and no other one."""
        port = self._own_ports.get(name)
        return f"http://127.0.0.1:{port}" if port else self.api_url


def numbered(name: str, many: int) -> list[str]:
    """The first one goes without a number."""
    return [name, *(f"{name}-{number}" for number in range(2, many + 1))]


def own_secret(settings: Settings, env: EnvFile) -> Mapping[str, str]:
    """The key of this home, unless the operator gave one."""
    given = settings.secret_key.get_secret_value()
    return {} if given not in {"", DEV_KEY} else {"MOORAGE_SECRET_KEY": env.secret("MOORAGE_SECRET_KEY")}
