"""Everything of one tenant in Redis, found by the prefix that every key of a tenant has."""

import asyncio
from collections.abc import AsyncIterator

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.accounts import Principal
from domain.errors import RedisUnavailable

SECONDS = 2.0  # for one step of a scan
SCANNED = 1000  # keys that a step looks at

_log = structlog.get_logger()


class RedisTenant:
    """Port Erasable. A scan goes through the keys of all tenants; it is the operator's, and rare."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def total(self, principal: Principal) -> int:
        found: set[str] = set()  # a scan may name a key twice
        async for keys in self._scan(principal):
            found.update(keys)
        return len(found)

    async def erase(self, principal: Principal) -> None:
        async for keys in self._scan(principal):
            await self._unlink(keys)

    async def _scan(self, principal: Principal) -> AsyncIterator[list[str]]:
        """What was there all the time is found, whatever else comes and goes."""
        cursor = 0
        while True:
            try:
                async with asyncio.timeout(SECONDS):
                    cursor, keys = await self._redis.scan(cursor, match=f"{principal.tenant}:*", count=SCANNED)
            except (RedisError, OSError) as error:
                raise _unavailable("scan", error) from None
            if keys:
                yield [str(key) for key in keys]  # the client decodes
            if not cursor:
                return

    async def _unlink(self, keys: list[str]) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                await self._redis.unlink(*keys)
        except (RedisError, OSError) as error:
            raise _unavailable("unlink", error) from None


def _unavailable(call: str, error: Exception) -> RedisUnavailable:
    _log.warning("tenant_not_erased", call=call, error=type(error).__name__)
    return RedisUnavailable()
