"""The one place that decides which adapter stands behind each port, opens them and closes them in reverse."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio.client import Client

from domain.ports import (
    AccountRecords,
    Admissions,
    Answerer,
    Blobs,
    DocumentRecords,
    Embedder,
    Engine,
    Events,
    Inventory,
    Limiter,
    Parser,
    Passwords,
    Rates,
    Registry,
    RunRecords,
    Sessions,
    Tokenizer,
    Tokens,
    TurnRecords,
    UsageRecords,
    VectorStore,
    Windows,
)
from infra.blobs import ObjectBlobs
from infra.embedder import LocalEmbedder
from infra.extractive import ExtractiveAnswerer
from infra.limited import LimitedAnswerer, LimitedEmbedder
from infra.limiter import RedisLimiter
from infra.parsing.parser import ChildParser
from infra.rates import RedisRates
from infra.redis import RedisEvents, RedisSessions, RedisWindows, pool
from infra.security import Argon2Passwords, JwtTokens
from infra.settings import Settings
from infra.sql.accounts import SqlAccounts
from infra.sql.admission import SqlAdmissions
from infra.sql.chat import SqlTurns
from infra.sql.database import Database
from infra.sql.documents import SqlDocuments
from infra.sql.reconcile import SqlInventory
from infra.sql.runs import SqlRuns
from infra.sql.usage import SqlUsage
from infra.temporal import TemporalEngine, connect
from infra.weaviate import WeaviateStore

Ping = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Services:
    """Everything a process can do to the outside world, typed by port."""

    settings: Settings
    accounts: AccountRecords
    admissions: Admissions
    runs: RunRecords
    registry: Registry
    inventory: Inventory
    documents: DocumentRecords
    turns: TurnRecords
    usage: UsageRecords
    blobs: Blobs
    store: VectorStore
    embedder: Embedder
    tokenizer: Tokenizer
    answerer: Answerer
    parser: Parser
    windows: Windows
    events: Events
    sessions: Sessions
    passwords: Passwords
    tokens: Tokens
    engine: Engine
    rates: Rates
    pings: Mapping[str, Ping] = field(default_factory=dict)


@asynccontextmanager
async def open_services(settings: Settings, client: Client | None = None) -> AsyncIterator[Services]:
    """Opens nothing that must be up: every adapter connects with its first call.

    A worker hands in its connected Temporal client; the API gets a lazy one.
    """
    async with AsyncExitStack() as stack:
        settings.home.mkdir(parents=True, exist_ok=True)
        database = await Database.open(settings.database)
        stack.push_async_callback(database.close)
        redis = pool(settings.redis_url.get_secret_value())
        stack.push_async_callback(redis.aclose)
        events = RedisEvents(redis)
        stack.push_async_callback(events.aclose)
        store = WeaviateStore(
            settings.weaviate_url,
            grpc_port=settings.weaviate_grpc_port,
            api_key=settings.weaviate_api_key.get_secret_value(),
        )
        stack.push_async_callback(store.aclose)
        local = LocalEmbedder(settings.cache)
        stack.callback(local.close)
        passwords = Argon2Passwords()
        stack.callback(passwords.close)
        blobs = ObjectBlobs(settings.blobs)
        engine = TemporalEngine(client or await connect(settings, lazy=True))
        runs, sessions, limiter = SqlRuns(database), RedisSessions(redis), RedisLimiter(redis)
        secret = settings.secret_key.get_secret_value()
        yield Services(
            settings=settings,
            accounts=SqlAccounts(database),
            admissions=SqlAdmissions(database),
            runs=runs,
            registry=runs,
            inventory=SqlInventory(database),
            documents=SqlDocuments(database),
            turns=SqlTurns(database),
            usage=SqlUsage(database),
            blobs=blobs,
            store=store,
            embedder=await _embedder(settings, local, limiter, stack),
            tokenizer=local,
            answerer=await _answerer(settings, local, limiter, stack),
            parser=ChildParser(),
            windows=RedisWindows(redis),
            events=events,
            sessions=sessions,
            passwords=passwords,
            tokens=JwtTokens(secret, timedelta(seconds=settings.access_token_seconds)),
            engine=engine,
            rates=RedisRates(redis),
            pings={
                "database": database.ping,
                "redis": sessions.ping,
                "weaviate": store.ping,
                "blobs": blobs.ping,
                "temporal": engine.ping,
            },
        )


async def _embedder(settings: Settings, local: LocalEmbedder, limiter: Limiter, stack: AsyncExitStack) -> Embedder:
    """Local unless set otherwise, whatever the keys for answers say: documents leave the machine only on purpose."""
    if settings.embedder == "local":
        return local
    from infra.openai import OpenAIEmbedder  # takes a second to load: only where one is configured

    remote = OpenAIEmbedder(
        base_url=settings.openai_base_url,
        api_key=settings.openai_api_key.get_secret_value(),
        model=settings.embedding_model,
        dimensions=settings.embedding_dimensions,
    )
    stack.push_async_callback(remote.aclose)
    return LimitedEmbedder(remote, limiter, settings.openai_base_url)


async def _answerer(settings: Settings, local: LocalEmbedder, limiter: Limiter, stack: AsyncExitStack) -> Answerer:
    if not settings.talks:
        return ExtractiveAnswerer(local, local.relevance)
    from infra.openai import OpenAIAnswerer

    answerer = OpenAIAnswerer(
        base_url=settings.openai_base_url,
        api_key=settings.openai_api_key.get_secret_value(),
        model=settings.chat_model,
        tokenizer=local,
    )
    stack.push_async_callback(answerer.aclose)
    return LimitedAnswerer(answerer, limiter, settings.openai_base_url)
