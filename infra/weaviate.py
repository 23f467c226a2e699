"""The search index in Weaviate: one class per generation, one native tenant per tenant of ours."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx
import structlog
from weaviate import WeaviateAsyncClient
from weaviate.classes.init import AdditionalConfig, Auth
from weaviate.classes.query import HybridFusion, MetadataQuery
from weaviate.collections import CollectionAsync
from weaviate.config import GrpcConfig
from weaviate.connect import ConnectionParams
from weaviate.exceptions import UnexpectedStatusCodeError, WeaviateBaseError, WeaviateQueryError

from domain.accounts import Principal
from domain.analysis import terms
from domain.errors import DimensionMismatch, StoreUnavailable
from domain.reconcile import StoredChunk
from domain.search import Generation, Hit, IndexedChunk, Mode, Query
from infra.weaviate_objects import (
    RETURNED,
    class_name,
    is_ours,
    of_version,
    schema,
    to_hit,
    to_object,
    to_stored,
    within,
)

SEARCH_SECONDS = 2.5
WRITE_SECONDS = 10.0  # one batch of an insert, 10,000 objects of a delete, one change of the schema
BATCH = 200
FIRST = "00000000-0000-0000-0000-000000000000"  # where the client's own iterator begins
# gRPC waits up to two minutes before it tries a server again that was away.
CHANNEL = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
VENDOR = (WeaviateBaseError, httpx.HTTPError, OSError)  # TimeoutError is an OSError

_log = structlog.get_logger()
# When a part of a batch fails the client logs whole objects, text included.
logging.getLogger("weaviate-client").setLevel(logging.CRITICAL)

Chunks: TypeAlias = CollectionAsync[Any, Any]


@dataclass(frozen=True, slots=True)
class _Legs:
    """What each leg of the search gets; alpha 0 is keywords only, 1 is the vector only."""

    words: str
    vector: list[float] | None
    alpha: float


class WeaviateStore:
    """Connects with the first call, so that a process can start before Weaviate does."""

    def __init__(self, url: str, *, grpc_port: int, api_key: str = "") -> None:
        self._params = ConnectionParams.from_url(url, grpc_port)
        self._auth = Auth.api_key(api_key) if api_key else None
        self._client: WeaviateAsyncClient | None = None
        self._connecting = asyncio.Lock()
        self._classes: set[str] = set()
        self._tenants: set[tuple[str, str]] = set()

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def ping(self) -> None:
        """Asks with our key, so that a wrong one shows."""
        async with self._deadline("ping", SEARCH_SECONDS):
            await (await self._connected()).get_meta()

    async def prepare(self, generation: Generation) -> None:
        name = class_name(generation.name)
        async with self._deadline("prepare", WRITE_SECONDS):
            if name not in self._classes:
                await self._create(name)

    async def insert(self, principal: Principal, generation: Generation, chunks: Sequence[IndexedChunk]) -> None:
        """Raises DimensionMismatch before anything is written, StoreUnavailable when a chunk was refused."""
        if any(len(chunk.vector) != generation.dimensions for chunk in chunks):
            raise DimensionMismatch
        name = class_name(generation.name)
        for start in range(0, len(chunks), BATCH):
            async with self._deadline("insert", WRITE_SECONDS, name, principal.tenant):
                collection = await self._made(name, principal.tenant)
                await _insert(collection, chunks[start : start + BATCH])

    async def count(self, principal: Principal, generation: Generation, version_key: str) -> int:
        name = class_name(generation.name)
        async with self._deadline("count", SEARCH_SECONDS, name, principal.tenant):
            collection = await self._existing(name, principal.tenant)
            return 0 if collection is None else await _count(collection, version_key)

    async def delete(self, principal: Principal, generation: Generation, version_key: str) -> None:
        """One call ends after 10,000 objects, so it is repeated until the index counts none."""
        name = class_name(generation.name)
        left = True
        while left:
            async with self._deadline("delete", WRITE_SECONDS, name, principal.tenant):
                collection = await self._existing(name, principal.tenant)
                left = collection is not None and await _delete(collection, version_key)

    async def search(self, principal: Principal, query: Query) -> list[Hit]:
        """Raises DimensionMismatch when the tenant's vectors have another length than the query's."""
        legs = _legs(query)
        if legs is None or not all(query.scope.meta):  # no value of an empty group can match
            return []
        name = class_name(query.scope.generation)
        async with self._deadline("search", SEARCH_SECONDS, name, principal.tenant):
            collection = await self._existing(name, principal.tenant)
            return [] if collection is None else await _search(collection, query, legs)

    async def walk(
        self, principal: Principal, generation: Generation, after: str | None, limit: int
    ) -> list[StoredChunk]:
        name = class_name(generation.name)
        async with self._deadline("walk", WRITE_SECONDS, name, principal.tenant):
            collection = await self._existing(name, principal.tenant)
            return [] if collection is None else await _walk(collection, after or FIRST, limit)

    async def total(self, principal: Principal) -> int:
        found = 0
        for name in await self._names():
            async with self._deadline("count", WRITE_SECONDS, name, principal.tenant):
                self._tenants.discard((name, principal.tenant))  # another process may have erased it
                collection = await self._existing(name, principal.tenant)
                counted = None if collection is None else await collection.aggregate.over_all(total_count=True)
                found += (counted.total_count or 0) if counted else 0
        return found

    async def erase(self, principal: Principal) -> None:
        for name in await self._names():
            async with self._deadline("erase", WRITE_SECONDS, name, principal.tenant):
                self._tenants.discard((name, principal.tenant))
                collection = (await self._connected()).collections.use(name)
                if await collection.tenants.exists(principal.tenant):
                    await collection.tenants.remove([principal.tenant])

    async def _names(self) -> list[str]:
        """Every class of ours; those of forgotten generations too, which is why the server is asked."""
        async with self._deadline("list", WRITE_SECONDS):
            return [name for name in await (await self._connected()).collections.list_all() if is_ours(name)]

    @asynccontextmanager
    async def _deadline(self, call: str, seconds: float, name: str = "", tenant: str = "") -> AsyncIterator[None]:
        """Ours: the client alone needs 63 s to say that a server is dead. What failed is looked up anew next time."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except VENDOR as error:
            self._classes.discard(name)
            self._tenants.discard((name, tenant))
            _log.warning("weaviate_call_failed", call=call, error=type(error).__name__)
            raise StoreUnavailable from None

    async def _connected(self) -> WeaviateAsyncClient:
        async with self._connecting:
            if self._client is None:
                self._client = await self._connect()
            return self._client

    async def _connect(self) -> WeaviateAsyncClient:
        client = WeaviateAsyncClient(
            self._params,
            auth_client_secret=self._auth,
            additional_config=AdditionalConfig(grpc_config=GrpcConfig(channel_options=CHANNEL)),
            skip_init_checks=True,  # they ask PyPI for a newer client
        )
        try:
            await client.connect()
        except BaseException:
            await client.close()
            raise
        return client

    async def _create(self, name: str) -> None:
        collections = (await self._connected()).collections
        try:
            if not await collections.exists(name):
                await collections.create(name, **schema())
        except UnexpectedStatusCodeError:  # another process was faster
            if not await collections.exists(name):
                raise
        self._classes.add(name)

    async def _made(self, name: str, tenant: str) -> Chunks:
        """The tenant's part of the class; class and tenant are made if they are missing."""
        if name not in self._classes:
            await self._create(name)
        collection = (await self._connected()).collections.use(name)
        if (name, tenant) not in self._tenants:
            await collection.tenants.create(tenant)
            self._tenants.add((name, tenant))
        return collection.with_tenant(tenant)

    async def _existing(self, name: str, tenant: str) -> Chunks | None:
        """The tenant's part of the class, None when there is no such class or tenant."""
        client = await self._connected()
        collection = client.collections.use(name)
        if (name, tenant) not in self._tenants:
            if not await client.collections.exists(name) or not await collection.tenants.exists(tenant):
                return None
            self._tenants.add((name, tenant))
        return collection.with_tenant(tenant)


def _legs(query: Query) -> _Legs | None:
    """None when there is nothing to search with. A question of stop words has a vector only."""
    words = " ".join(terms(query.text))
    if query.mode is not Mode.KEYWORD and query.vector is not None:
        # As floats: the client prints a numpy vector for a message that it then throws away, 1.3 ms.
        return _Legs(words, query.vector.tolist(), query.alpha if words else 1.0)
    return _Legs(words, None, 0.0) if words and query.mode is not Mode.VECTOR else None


async def _search(collection: Chunks, query: Query, legs: _Legs) -> list[Hit]:
    try:
        found = await collection.query.hybrid(
            query=legs.words,
            vector=legs.vector,
            alpha=legs.alpha,
            query_properties=["terms"],
            fusion_type=HybridFusion.RELATIVE_SCORE,
            limit=query.k,
            filters=within(query.scope),
            include_vector=query.vector is not None,
            return_metadata=MetadataQuery(score=True),
            return_properties=RETURNED,
        )
    except WeaviateQueryError:
        await _refuse_other_length(collection, legs)
        raise
    wanted = frozenset(legs.words.split())
    return [to_hit(each, query.vector, wanted) for each in found.objects]


async def _refuse_other_length(collection: Chunks, legs: _Legs) -> None:
    """The server tells a wrong dimension in prose only, so a stored vector is looked at."""
    sample = await collection.query.fetch_objects(limit=1, include_vector=True, return_properties=[])
    if legs.vector is not None and any(len(each.vector["default"]) != len(legs.vector) for each in sample.objects):
        raise DimensionMismatch from None


async def _insert(collection: Chunks, chunks: Sequence[IndexedChunk]) -> None:
    """The client raises by itself only when every object was refused."""
    reply = await collection.data.insert_many([to_object(chunk) for chunk in chunks])
    if reply.has_errors:
        refused = [chunks[index].chunk_id for index in sorted(reply.errors)]
        _log.warning("chunks_refused", refused=len(refused), of=len(chunks), first=refused[0])
        raise StoreUnavailable(f"The search index refused {len(refused)} of {len(chunks)} chunks.")


async def _count(collection: Chunks, version_key: str) -> int:
    reply = await collection.aggregate.over_all(filters=of_version(version_key), total_count=True)
    return reply.total_count or 0


async def _walk(collection: Chunks, after: str, limit: int) -> list[StoredChunk]:
    when = MetadataQuery(creation_time=True)
    found = await collection.query.fetch_objects(
        after=after, limit=limit, return_properties=["version"], return_metadata=when
    )
    return [to_stored(each) for each in found.objects]


async def _delete(collection: Chunks, version_key: str) -> bool:
    """Whether something is left. A read-only shard refuses only by its numbers."""
    if not await _count(collection, version_key):
        return False
    reply = await collection.data.delete_many(where=of_version(version_key))
    if not reply.successful:
        raise StoreUnavailable(f"The search index refused to delete {reply.matches} chunks.")
    return await _count(collection, version_key) > 0
