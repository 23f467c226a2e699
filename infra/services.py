"""The one place that decides which adapter stands behind each port, opens them and closes them in reverse."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from redis.asyncio import Redis
from temporalio.client import Client

from domain.access import Invites, Keys, Users
from domain.models import QUOTING, Models
from domain.operator import Audit, Erasable, Tenants
from domain.ports import (
    AccountRecords,
    Admissions,
    Answerer,
    AnswerRecords,
    Blobs,
    DocumentRecords,
    Embedder,
    Engine,
    Events,
    Inventory,
    Ledger,
    Limiter,
    LoginStates,
    Parser,
    Passwords,
    Rates,
    Registry,
    RunRecords,
    Sessions,
    Throttle,
    Tokenizer,
    Tokens,
    TurnRecords,
    UsageRecords,
    VectorStore,
    Windows,
)
from domain.prices import Prices
from infra import failpoints
from infra.blobs import ObjectBlobs
from infra.embedder import LocalEmbedder
from infra.extractive import ExtractiveAnswerer
from infra.limited import LimitedAnswerer, LimitedEmbedder
from infra.limiter import RedisLimiter
from infra.login_states import RecentLoginStates
from infra.models import Endpoint, brief_patience, model_list
from infra.parsing.parser import ChildParser
from infra.prices import price_list
from infra.rates import RedisRates
from infra.redis import RedisWindows, pool
from infra.redis_events import RedisEvents
from infra.redis_tenant import RedisTenant
from infra.routed import RoutedAnswerer
from infra.security import Argon2Passwords, JwtTokens
from infra.sessions import RedisSessions
from infra.settings import Environment, Settings
from infra.sql.accounts import SqlAccounts
from infra.sql.admission import SqlAdmissions
from infra.sql.answers import SqlAnswers
from infra.sql.audit import SqlAudit
from infra.sql.database import Database
from infra.sql.documents import SqlDocuments
from infra.sql.invites import SqlInvites
from infra.sql.keys import SqlKeys
from infra.sql.ledger import SqlLedger
from infra.sql.reconcile import SqlInventory
from infra.sql.runs import SqlRuns
from infra.sql.tenants import SqlTenants
from infra.sql.usage import SqlUsage
from infra.sql.users import SqlUsers
from infra.temporal import connect
from infra.throttle import PER_ADDRESS, RedisThrottle
from infra.weaviate import WeaviateStore

Ping = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Services:
    """Everything a process can do to the outside world, typed by port."""

    settings: Settings
    accounts: AccountRecords
    keys: Keys
    invites: Invites
    users: Users
    admissions: Admissions
    runs: RunRecords
    registry: Registry
    inventory: Inventory
    ledger: Ledger
    tenants: Tenants
    audit: Audit
    documents: DocumentRecords
    turns: TurnRecords
    answers: AnswerRecords
    usage: UsageRecords
    prices: Prices
    blobs: Blobs
    store: VectorStore
    embedder: Embedder
    tokenizer: Tokenizer
    answerer: Answerer
    models: Models
    parser: Parser
    windows: Windows
    events: Events
    login_states: LoginStates
    sessions: Sessions
    throttle: Throttle
    passwords: Passwords
    tokens: Tokens
    engine: Engine
    rates: Rates
    erasable: Mapping[str, Erasable] = field(default_factory=dict)  # in the order in which a tenant is deleted
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
        endpoints = model_list(settings)
        engine = failpoints.engine(settings, client or await connect(settings, lazy=True))
        accounts, runs, limiter = SqlAccounts(database), SqlRuns(database), RedisLimiter(redis)
        sessions = RedisSessions(redis, timedelta(days=settings.refresh_token_days))
        yield Services(
            settings=settings,
            accounts=accounts,
            keys=SqlKeys(database),
            invites=SqlInvites(database),
            users=SqlUsers(database),
            admissions=SqlAdmissions(database, history_tokens=settings.history_tokens),
            runs=runs,
            registry=runs,
            inventory=SqlInventory(database),
            ledger=SqlLedger(database),
            tenants=SqlTenants(database),
            audit=SqlAudit(database),
            documents=SqlDocuments(database),
            turns=failpoints.turns(settings, database),
            answers=SqlAnswers(database),
            usage=SqlUsage(database),
            prices=price_list(settings.prices),
            blobs=blobs,
            store=store,
            embedder=await _embedder(settings, local, limiter, stack),
            tokenizer=local,
            answerer=await _answerer(settings, endpoints, local, limiter, stack),
            models=Models([endpoint.model for endpoint in endpoints] or [QUOTING]),
            parser=ChildParser(),
            windows=RedisWindows(redis),
            events=events,
            login_states=RecentLoginStates(accounts),
            sessions=sessions,
            throttle=_throttle(settings, redis),
            passwords=passwords,
            tokens=_tokens(settings),
            engine=engine,
            rates=RedisRates(redis),
            erasable={"index": store, "blobs": blobs, "redis": RedisTenant(redis)},
            pings={
                "database": database.ping,
                "redis": sessions.ping,
                "weaviate": store.ping,
                "blobs": blobs.ping,
                "temporal": engine.ping,
            },
        )


def _tokens(settings: Settings) -> JwtTokens:
    return JwtTokens(
        settings.secret_key.get_secret_value(),
        timedelta(seconds=settings.access_token_seconds),
        settings.secret_key_previous.get_secret_value(),
    )


def _throttle(settings: Settings, redis: Redis) -> RedisThrottle:
    """Who develops has one address for everybody."""
    return RedisThrottle(redis, per_address=PER_ADDRESS * (10 if settings.env is Environment.DEV else 1))


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


async def _answerer(
    settings: Settings, endpoints: Sequence[Endpoint], local: LocalEmbedder, limiter: Limiter, stack: AsyncExitStack
) -> Answerer:
    """Each model is built once; those at one address share its connections."""
    if not endpoints:
        return ExtractiveAnswerer(local, local.relevance)
    from infra.openai import OpenAIAnswerer, Patience, connections

    pools = {url: connections() for url in {endpoint.base_url for endpoint in endpoints}}
    for each in pools.values():
        stack.push_async_callback(each.aclose)
    patience = Patience(settings.first_token_seconds, settings.token_gap_seconds, brief_patience(endpoints))
    answerers: dict[str, Answerer] = {}
    for endpoint in endpoints:
        answerer = OpenAIAnswerer(
            base_url=endpoint.base_url,
            api_key=endpoint.key.get_secret_value(),
            model=endpoint.model.called,
            tokenizer=local,
            patience=patience,
            shared=pools[endpoint.base_url],
        )
        answerers[endpoint.model.name] = LimitedAnswerer(answerer, limiter, endpoint.base_url, endpoint.purpose)
    return RoutedAnswerer(answerers)
