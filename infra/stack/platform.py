"""Our own processes: migrations once, then the API and one worker per queue."""

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
GRACE = {CHAT_QUEUE: 15.0, DOCUMENTS_QUEUE: 65.0}  # seconds; the worker itself waits 10 and 60 for its activities


def moorage(*words: str) -> list[str]:
    """A command line that runs one of our commands with this very installation."""
    script = Path(sys.executable).with_name("moorage")
    return [str(script), *words] if script.exists() else [sys.executable, "-m", "cli.main", *words]


class Platform:
    """The ports and processes of one home."""

    def __init__(self, settings: Settings, home: Path, ports: Ports, env: EnvFile, addresses: Addresses) -> None:
        fixed = settings.port if "port" in settings.model_fields_set else 0
        self._port = ports.port("api", fixed=fixed)
        self._metrics = {queue: ports.port(f"worker-{queue}-metrics") for queue in GRACE}
        self._environment = {
            **os.environ,
            **addresses.environment(),
            **own_secret(settings, env),
            "MOORAGE_HOME": str(home),
            "MOORAGE_PORT": str(self._port),
        }
        host = "127.0.0.1" if settings.host in {"", "0.0.0.0", "::"} else settings.host  # noqa: S104
        self.api_url = f"http://{host}:{self._port}"
        self.metrics_urls = [f"{self.api_url}/metrics", *map(self._metrics_url, GRACE)]

    def migrate(self) -> Process:
        return Process(name="migrate", command=moorage("migrate"), environment=self._environment, patience=300)

    def processes(self) -> list[Process]:
        """In the order of start, which is the reverse of the order in which they are stopped."""
        return [self._worker(DOCUMENTS_QUEUE), self._worker(CHAT_QUEUE), self._api()]

    def _api(self) -> Process:
        ready = answering(f"{self.api_url}/readyz")
        return Process(
            name="api", command=moorage("api"), environment=self._environment, ready=ready, patience=90, grace=20
        )

    def _worker(self, queue: str) -> Process:
        return Process(
            name=f"worker-{queue}",
            command=moorage("worker", "--queue", queue),
            environment={**self._environment, "MOORAGE_METRICS_PORT": str(self._metrics[queue])},
            ready=answering(self._metrics_url(queue)),
            nice=NICE[queue],
            patience=90,
            grace=GRACE[queue],
        )

    def _metrics_url(self, queue: str) -> str:
        return f"http://127.0.0.1:{self._metrics[queue]}/metrics"


def own_secret(settings: Settings, env: EnvFile) -> Mapping[str, str]:
    """The key of this home, unless the operator gave one."""
    given = settings.secret_key.get_secret_value()
    return {} if given not in {"", DEV_KEY} else {"MOORAGE_SECRET_KEY": env.secret("MOORAGE_SECRET_KEY")}
