"""Hot state in Redis: the client, and conversation windows. Every key starts with the tenant."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from datetime import timedelta

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from domain.accounts import Principal
from domain.errors import RedisUnavailable
from domain.window import Exchange, Past

SECONDS = 1.0  # our deadline for any call; the client alone needs 10 s to give up on a stalled server
CONNECTIONS = 32
WINDOW_LIFETIME = timedelta(days=7)

_log = structlog.get_logger()


def pool(url: str) -> Redis:
    """A client over one pool; calls beyond its size wait for a connection. Whoever opens it closes it (`aclose`).

    Without retries: a reply that was lost would make the client send the command twice.
    """
    return Redis.from_pool(
        BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=SECONDS,
            socket_timeout=SECONDS,
            socket_connect_timeout=SECONDS,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            protocol=2,
        )
    )


@asynccontextmanager
async def deadline(failure: str, **facts: str) -> AsyncIterator[None]:
    """Raises RedisUnavailable after noting the failure, without the vendor's message: it can quote a command."""
    try:
        async with asyncio.timeout(SECONDS):
            yield
    except (RedisError, OSError) as error:  # TimeoutError is an OSError
        _log.warning(failure, error=type(error).__name__, **facts)
        raise RedisUnavailable from None


class RedisWindows:
    """The database is the truth: what Redis cannot do here is logged and left."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def get(self, principal: Principal, conversation_id: str, before: int) -> Past | None:
        kept = None
        with suppress(RedisUnavailable):
            async with deadline("window_not_read"):
                kept = await self._redis.get(_window(principal, conversation_id))
        return None if kept is None else _past(kept, before)

    async def put(self, principal: Principal, conversation_id: str, before: int, past: Past) -> None:
        kept = json.dumps({"before": before, **asdict(past)}, ensure_ascii=False)
        with suppress(RedisUnavailable):
            async with deadline("window_not_kept"):
                await self._redis.set(_window(principal, conversation_id), kept, ex=WINDOW_LIFETIME)

    async def drop(self, principal: Principal, conversation_id: str) -> None:
        """Raises RedisUnavailable: whoever asks for words to be deleted must know that they are."""
        async with deadline("window_not_dropped"):
            await self._redis.delete(_window(principal, conversation_id))


def _window(principal: Principal, conversation_id: str) -> str:
    return f"{principal.tenant}:window:{conversation_id}"


def _past(kept: str | bytes, before: int) -> Past | None:
    """None for a window that ends elsewhere, or that another release wrote."""
    try:
        window = json.loads(kept)
        exchanges = tuple(Exchange(**row) for row in window["exchanges"])
        return Past(str(window["summary"]), int(window["until"]), exchanges) if window["before"] == before else None
    except (ValueError, KeyError, TypeError):
        return None
