"""Requests by the minute, counted in Redis for all processes together; the rule is in rates.lua."""

import asyncio
import math
import time
from collections import OrderedDict
from importlib.resources import files

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.rates import Rate

MINUTE = 60
SECONDS = 0.25  # our deadline for Redis: every request waits for it
REST = 2.0  # seconds that a silent Redis is not asked again
MOST_BUCKETS = 20_000  # kept in this process; the one that was used longest ago goes first

_log = structlog.get_logger()


class LocalRates:
    """The same rule in this process: what stands in while Redis is silent."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[int, float]] = OrderedDict()  # requests so far, end (monotonic)

    def take(self, bucket: str, limit: int) -> Rate:
        now = time.monotonic()
        count, end = self._buckets.get(bucket, (0, 0.0))
        if end <= now:
            count, end = 0, now + MINUTE
        count = min(count, limit) + 1
        self._buckets[bucket] = count, end
        self._buckets.move_to_end(bucket)
        if len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return _rate(count, limit, end - now)


class RedisRates:
    """Rates."""

    def __init__(self, redis: Redis, *, rest: float = REST) -> None:
        self._script = redis.register_script(files("infra").joinpath("rates.lua").read_text(encoding="utf-8"))
        self._local = LocalRates()
        self._rest = rest
        self._rests_until = 0.0

    async def take(self, bucket: str, limit: int) -> Rate:
        if time.monotonic() < self._rests_until:
            return self._local.take(bucket, limit)
        try:
            async with asyncio.timeout(SECONDS):
                count, left = await self._script(keys=[bucket], args=[limit, MINUTE])
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._rests_until = time.monotonic() + self._rest
            _log.warning("rates_without_redis", error=type(error).__name__)
            return self._local.take(bucket, limit)
        return _rate(count, limit, left / 1000)


def _rate(count: int, limit: int, left: float) -> Rate:
    return Rate(limit, max(0, limit - count), max(1, math.ceil(left)), exceeded=count > limit)
