"""A whole stack under test: the launcher's own processes, with a proxy before every store and the provider.

One supervisor starts, restarts and stops them as in `moorage dev`; failpoints are read from a file, so that they
can be set while everything runs.
"""

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from infra.redis import pool
from infra.settings import Settings
from infra.stack.addresses import Addresses
from infra.stack.envfile import EnvFile
from infra.stack.home import made
from infra.stack.platform import Platform
from infra.stack.ports import Ports
from infra.stack.probes import answering
from infra.stack.process import Process
from infra.stack.stores import plan_stores
from infra.stack.supervisor import Status, Supervisor
from tests.faults.proxy import Proxy
from tests.provider.server import ScriptedProvider

STORES = ("temporal", "redis", "weaviate")
PLATFORM = ("worker-documents", "worker-chat", "api")
SPARES = {"worker-documents": "worker-documents-2", "worker-chat": "worker-chat-2"}
DIMENSIONS = 64


@dataclass(frozen=True)
class Stack:
    """`addresses` lead past the proxies."""

    home: Path
    supervisor: Supervisor
    processes: dict[str, Process]
    proxies: dict[str, Proxy]
    addresses: Addresses
    provider: ScriptedProvider
    api_urls: tuple[str, ...]
    metrics_urls: tuple[str, ...]

    @property
    def api_url(self) -> str:
        return self.api_urls[0]

    def status(self, name: str) -> Status:
        return next(status for status in self.supervisor.statuses() if status.name == name)

    def pid(self, name: str) -> int:
        return self.status(name).pid

    def arm(self, *rules: str) -> None:
        """These failpoints, and no others, from now on."""
        shutil.rmtree(self.home / "failpoints", ignore_errors=True)
        draft = self.home / "rules.new"
        draft.write_text(";".join(rules))
        draft.replace(self.home / "rules")

    async def unlimited(self) -> None:
        """No pace that an earlier scenario's refusals have taught."""
        async with pool(self.addresses.redis_url) as redis:
            async for key in redis.scan_iter("limiter:*"):
                await redis.delete(key)

    def struck(self, rule: str = "") -> int:
        """How often failpoints with a limit, or this one, have struck since they were set."""
        folder = self.home / "failpoints"
        return len([one for one in folder.iterdir() if one.name.startswith(rule)]) if folder.exists() else 0


@asynccontextmanager
async def launched(
    home: Path, *, seed: int = 0, spare: bool = True, apis: int = 1, **settings: str
) -> AsyncIterator[Stack]:
    """Everything ready; all gone afterwards. Other keywords are environment variables of our processes."""
    home = made(home)
    ports, env = Ports(home / "ports.json"), EnvFile(home / "env")
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(ScriptedProvider(dimensions=DIMENSIONS))
        plan = await plan_stores(home, Settings(_env_file=None).cache, None, ports, env)
        supervisor = Supervisor(home / "logs")
        stack.push_async_callback(supervisor.stop)
        await supervisor.start(plan.processes)
        proxies = {
            name: await stack.enter_async_context(Proxy(target, ports.port(f"proxy-{name}"), seed))
            for name, target in _targets(plan.addresses, provider).items()
        }
        one_of_each = Settings(_env_file=None, home=home, workers=1)
        platform = Platform(one_of_each, home, ports, env, _through(plan.addresses, proxies))
        ours = {
            "OPENAI_BASE_URL": f"http://127.0.0.1:{proxies['provider'].port}/v1",
            "OPENAI_API_KEY": "test-key",
            "MOORAGE_EMBEDDER": "openai",
            "MOORAGE_EMBEDDING_DIMENSIONS": str(DIMENSIONS),
            "MOORAGE_FAILPOINTS": f"@{home / 'rules'}",
            "MOORAGE_TOKEN_LIMIT": "1000000000",
            **settings,
        }
        await supervisor.run(_told(platform.migrate(), ours))
        processes = [_told(process, ours) for process in platform.processes()]
        api = processes[-1]
        if spare:
            workers = [process for process in processes if process.name in SPARES]
            processes += [_spare(worker, ports.port(f"{SPARES[worker.name]}-metrics")) for worker in workers]
        more = [_another(api, number, ports) for number in range(2, apis + 1)]
        processes += [process for process, _ in more]
        await supervisor.start(processes)
        yield Stack(
            home=home,
            supervisor=supervisor,
            processes={process.name: process for process in (*plan.processes, *processes)},
            proxies=proxies,
            addresses=plan.addresses,
            provider=provider,
            api_urls=(platform.api_url, *(url for _, url in more)),
            metrics_urls=(*platform.metrics_urls, *(f"{url}/metrics" for _, url in more)),
        )


def _targets(addresses: Addresses, provider: ScriptedProvider) -> dict[str, int]:
    return {
        "temporal": int(addresses.temporal_address.rpartition(":")[2]),
        "redis": urlsplit(addresses.redis_url).port or 0,
        "weaviate": urlsplit(addresses.weaviate_url).port or 0,
        "weaviate-grpc": addresses.weaviate_grpc_port,
        "provider": urlsplit(provider.base_url).port or 0,
    }


def _through(addresses: Addresses, proxies: dict[str, Proxy]) -> Addresses:
    port = {name: proxy.port for name, proxy in proxies.items()}
    return replace(
        addresses,
        temporal_address=f"127.0.0.1:{port['temporal']}",
        redis_url=addresses.redis_url.replace(str(proxies["redis"].target), str(port["redis"])),
        weaviate_url=f"http://127.0.0.1:{port['weaviate']}",
        weaviate_grpc_port=port["weaviate-grpc"],
    )


def _told(process: Process, settings: dict[str, str]) -> Process:
    return replace(process, environment={**process.environment, **settings})


def _spare(worker: Process, port: int) -> Process:
    """A second worker of the same queue, without the first one's low priority."""
    return replace(
        _told(worker, {"MOORAGE_METRICS_PORT": str(port)}),
        name=SPARES[worker.name],
        ready=answering(f"http://127.0.0.1:{port}/metrics"),
        nice=0,
    )


def _another(api: Process, number: int, ports: Ports) -> tuple[Process, str]:
    """One more API over the same stores, and its address."""
    port = ports.port(f"api-{number}")
    url = f"http://127.0.0.1:{port}"
    told = _told(api, {"MOORAGE_PORT": str(port)})
    return replace(told, name=f"api-{number}", ready=answering(f"{url}/readyz")), url
