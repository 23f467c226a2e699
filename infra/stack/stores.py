"""Temporal, Redis and Weaviate under one folder: what the stack stands on, and all that most tests need."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from infra.settings import Settings
from infra.stack import weaviate_binary
from infra.stack.addresses import Addresses
from infra.stack.envfile import EnvFile
from infra.stack.home import made
from infra.stack.ports import Ports
from infra.stack.process import Process
from infra.stack.progress import Say, silence
from infra.stack.redis import RedisServer
from infra.stack.supervisor import Supervisor
from infra.stack.temporal import TemporalServer
from infra.stack.weaviate import WeaviateServer

VARIABLES = {
    "temporal_address": ("MOORAGE_TEMPORAL_ADDRESS", "MOORAGE_TEMPORAL_NAMESPACE", "MOORAGE_TEMPORAL_UI_URL"),
    "weaviate_url": ("WEAVIATE_URL", "WEAVIATE_GRPC_PORT", "WEAVIATE_API_KEY"),
    "redis_url": ("REDIS_URL",),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the servers will be, and those of them that are to be started here."""

    addresses: Addresses
    processes: list[Process]
    given: frozenset[str]  # names of the environment variables whose values came from the operator


@asynccontextmanager
async def stores(
    home: Path, cache: Path, settings: Settings | None = None, say: Say = silence
) -> AsyncIterator[Addresses]:
    """All three answer inside, and are gone afterwards. Raises StackError.

    Those that `settings` names explicitly are used as they are.
    """
    async with supervised_stores(home, cache, settings, say) as (addresses, _):
        yield addresses


@asynccontextmanager
async def supervised_stores(
    home: Path, cache: Path, settings: Settings | None = None, say: Say = silence
) -> AsyncIterator[tuple[Addresses, Supervisor]]:
    """The same, with the supervisor, which knows the process ids and can pause a server."""
    home = made(home)
    plan = await plan_stores(home, cache, settings, Ports(home / "ports.json"), EnvFile(home / "env"), say)
    supervisor = Supervisor(home / "logs")
    try:
        await supervisor.start(plan.processes)
        yield plan.addresses, supervisor
    finally:
        await supervisor.stop()


async def plan_stores(
    home: Path,
    cache: Path,
    settings: Settings | None,
    ports: Ports,
    env: EnvFile,
    say: Say = silence,
) -> Plan:
    """Decide for each server: the one that the settings name, or one of our own. Raises StackError."""
    addresses, given = external(settings, env)
    processes = []
    if "temporal_address" not in given:
        temporal = TemporalServer(home, ports, addresses.temporal_namespace)
        addresses = replace(addresses, temporal_address=temporal.address, temporal_ui_url=temporal.ui_url)
        processes.append(temporal.process())
    if "redis_url" not in given:
        redis = RedisServer(home, ports, env.secret("MOORAGE_REDIS_PASSWORD"))
        addresses = replace(addresses, redis_url=redis.url)
        processes.append(redis.process())
    if "weaviate_url" not in given:
        keys = env.secret("WEAVIATE_API_KEY"), env.secret("MOORAGE_WEAVIATE_CLUSTER_PASSWORD")
        weaviate = WeaviateServer(home, ports, *keys)
        addresses = replace(
            addresses,
            weaviate_url=weaviate.url,
            weaviate_grpc_port=weaviate.grpc_port,
            weaviate_api_key=weaviate.api_key,
        )
        processes.append(weaviate.process(await weaviate_binary.obtain(cache, say)))
    return Plan(addresses, processes, frozenset(name for server in given for name in VARIABLES[server]))


def external(settings: Settings | None, env: EnvFile) -> tuple[Addresses, set[str]]:
    """What the settings say, and which servers they name explicitly.

    A value that the launcher itself wrote to the home's env file names no other server: that file may have been
    loaded into the shell.
    """
    if settings is None:
        return Addresses("", "default", "", "", 0, "", ""), set()
    addresses = Addresses(
        temporal_address=settings.temporal_address,
        temporal_namespace=settings.temporal_namespace,
        temporal_ui_url=settings.temporal_ui_url,
        weaviate_url=settings.weaviate_url,
        weaviate_grpc_port=settings.weaviate_grpc_port,
        weaviate_api_key=settings.weaviate_api_key.get_secret_value(),
        redis_url=settings.redis_url.get_secret_value(),
    )
    ours = set(env.values.values())
    servers = {
        "temporal_address": addresses.temporal_address,
        "weaviate_url": addresses.weaviate_url,
        "redis_url": addresses.redis_url,
    }
    explicit = settings.model_fields_set
    return addresses, {name for name, value in servers.items() if name in explicit and value and value not in ours}
