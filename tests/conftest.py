"""What several suites share: the real servers, started once by the launcher's own code, and adapters on them."""

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import hypothesis  # noqa: F401  # its plugin imports it after the last test, where that was seen to fail (SystemError)
import pytest
from redis.asyncio import Redis

from domain.accounts import Principal
from domain.names import new_id
from infra.memory import MemoryVectorStore, StubEmbedder
from infra.redis import RedisWindows, pool
from infra.redis_events import RedisEvents
from infra.sessions import RedisSessions
from infra.settings import Settings
from infra.stack.addresses import Addresses
from infra.stack.stores import stores
from infra.weaviate import WeaviateStore
from tests.platform import Platform, StartPlatform, User, platform
from tests.postgres import Postgres
from tests.provider.server import ScriptedProvider

# All tests call from one address and would keep each other out; those about the limits set their own.
os.environ |= {"MOORAGE_RATE_LIMIT": "0", "MOORAGE_RATE_LIMIT_ANONYMOUS": "0"}


def pytest_collection_finish() -> None:
    _freeze()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if nextitem is None or nextitem.path != item.path:
        _freeze()


def _freeze() -> None:
    """What is there is not looked at again, as in our own processes (`cli/loading.py`). Towards the end of the suite
    one full collection stopped everything for a second, and what has its deadline after two failed.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
async def addresses(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Addresses]:
    """Temporal, Valkey and Weaviate, empty at first and gone at the end."""
    cache = Path(Settings.model_fields["cache_dir"].default).expanduser()
    async with stores(tmp_path_factory.mktemp("stores"), cache) as found:
        yield found


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[Postgres]:
    """Starts when it is first asked for a database."""
    server = Postgres()
    yield server
    await server.aclose()


@pytest.fixture
def principal() -> Principal:
    """A tenant and an account that nobody else has."""
    return Principal(tenant=new_id(), account=new_id())


@pytest.fixture
def stranger() -> Principal:
    """Of another tenant."""
    return Principal(tenant=new_id(), account=new_id())


@pytest.fixture(scope="session")
async def weaviate(addresses: Addresses) -> AsyncIterator[WeaviateStore]:
    store = WeaviateStore(
        addresses.weaviate_url, grpc_port=addresses.weaviate_grpc_port, api_key=addresses.weaviate_api_key
    )
    yield store
    await store.aclose()


@pytest.fixture
def memory_store() -> MemoryVectorStore:
    return MemoryVectorStore()


@pytest.fixture
def embedder() -> StubEmbedder:
    return StubEmbedder()


@pytest.fixture(scope="session")
async def redis(addresses: Addresses) -> AsyncIterator[Redis]:
    client = pool(addresses.redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def away(closed_port: int) -> AsyncIterator[Redis]:
    """A client whose server is not there."""
    client = pool(f"redis://127.0.0.1:{closed_port}/0")
    yield client
    await client.aclose()


@pytest.fixture
async def silent(silent_port: int) -> AsyncIterator[Redis]:
    """A client whose server does not answer."""
    client = pool(f"redis://127.0.0.1:{silent_port}/0")
    yield client
    await client.aclose()


@pytest.fixture
def windows(redis: Redis) -> RedisWindows:
    return RedisWindows(redis)


@pytest.fixture
def sessions(redis: Redis) -> RedisSessions:
    return RedisSessions(redis)


@pytest.fixture
async def events(redis: Redis) -> AsyncIterator[RedisEvents]:
    events = RedisEvents(redis)
    yield events
    await events.aclose()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Nobody listens there, and nobody else can start to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
async def silent_port() -> AsyncIterator[int]:
    """Whoever connects there never gets an answer."""
    leave = asyncio.Event()

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await leave.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    leave.set()
    server.close()
    await server.wait_closed()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The routes are tested on both databases; for the other suites SQLite is enough."""
    if "kept_in" in metafunc.fixturenames:
        routes = metafunc.definition.path.is_relative_to(Path(__file__).with_name("api"))
        databases = ["sqlite", "postgres"] if routes else ["sqlite"]
        metafunc.parametrize("kept_in", databases, indirect=True, scope="session")


@pytest.fixture(scope="session")
def kept_in(request: pytest.FixtureRequest) -> str:
    """Which database the platforms have."""
    return str(request.param)


@pytest.fixture(scope="session")
def start_platform(
    tmp_path_factory: pytest.TempPathFactory, addresses: Addresses, postgres: Postgres, kept_in: str
) -> StartPlatform:
    @asynccontextmanager
    async def start(name: str, **settings: Any) -> AsyncIterator[Platform]:
        if kept_in == "postgres":
            settings["database_url"] = await postgres.empty()
        async with platform(tmp_path_factory.mktemp(name), addresses, **settings) as running:
            yield running

    return start


@pytest.fixture(scope="session")
async def quiet(start_platform: StartPlatform) -> AsyncIterator[Platform]:
    """Without a language model: answers are quotes."""
    async with start_platform("quiet") as running:
        yield running


@pytest.fixture(scope="session")
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider() as running:
        yield running


@pytest.fixture(scope="session")
async def talking(start_platform: StartPlatform, provider: ScriptedProvider) -> AsyncIterator[Platform]:
    """With a language model behind the OpenAI protocol."""
    async with start_platform("talking", openai_base_url=provider.base_url, openai_api_key="test-key") as running:
        yield running


@pytest.fixture(scope="session")
async def buying(start_platform: StartPlatform, provider: ScriptedProvider) -> AsyncIterator[Platform]:
    """With embeddings and answers bought from a provider."""
    bought = {
        "openai_base_url": provider.base_url,
        "openai_api_key": "test-key",
        "embedder": "openai",
        "embedding_dimensions": 384,
    }
    async with start_platform("buying", **bought) as running:
        yield running


@pytest.fixture
async def user(quiet: Platform) -> User:
    return await quiet.user()


@pytest.fixture
async def unlimited(redis: Redis) -> None:
    """No pace that an earlier test's refusals have taught."""
    async for key in redis.scan_iter("limiter:*"):
        await redis.delete(key)


@pytest.fixture
async def talker(talking: Platform, unlimited: None) -> User:
    return await talking.user()


@pytest.fixture
async def buyer(buying: Platform, provider: ScriptedProvider, unlimited: None) -> User:
    provider.reset()
    return await buying.user()
