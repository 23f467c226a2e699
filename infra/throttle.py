"""Failed log-ins, counted in Redis before a password is hashed; the rules are in throttle.lua.

There is no tenant before a log-in: these keys, like the provider's pace, belong to the whole platform. They hold
hashes, neither names nor addresses.
"""

import asyncio
import hashlib
import time
import unicodedata
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.resources import files
from ipaddress import IPv6Address, IPv6Network, ip_address

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.errors import LoginThrottled

WINDOW = 900.0  # seconds, from the first failure
PER_ACCOUNT = 5  # failures of one username from one address, so that its owner still gets in from elsewhere
PER_ADDRESS = 100  # failures of one address, whatever the username: an office shares one
SECONDS = 0.5  # our deadline for Redis
MOST = 10_000  # buckets that a process keeps without Redis

log = structlog.get_logger()


@dataclass(slots=True)
class _Local:
    """The same rules in this process's memory."""

    limits: tuple[int, int]
    buckets: dict[str, tuple[int, float]] = field(default_factory=dict)  # failures, and when (monotonic) they lapse

    def enter(self, keys: list[str]) -> float:
        now = time.monotonic()
        found = [self._bucket(key, now) for key in keys]
        waits = [until - now for (count, until), limit in zip(found, self.limits, strict=True) if count >= limit]
        if not waits:
            for key, (count, until) in zip(keys, found, strict=True):
                self.buckets[key] = count + 1, until
        while len(self.buckets) > MOST:
            self.buckets.pop(next(iter(self.buckets)))
        return max(waits, default=0.0)

    def forgive(self, keys: list[str]) -> None:
        account, address = keys
        self.buckets.pop(account, None)
        count, until = self._bucket(address, time.monotonic())
        self.buckets[address] = max(0, count - 1), until

    def _bucket(self, key: str, now: float) -> tuple[int, float]:
        count, until = self.buckets.get(key, (0, 0.0))
        return (count, until) if until > now else (0, now + WINDOW)


class RedisThrottle:
    """Port Throttle."""

    def __init__(self, redis: Redis, *, per_address: int = PER_ADDRESS) -> None:
        self._script = redis.register_script(files("infra").joinpath("throttle.lua").read_text(encoding="utf-8"))
        self._limits = (PER_ACCOUNT, per_address)
        self._local = _Local(self._limits)

    async def enter(self, username: str, address: str) -> None:
        keys = _keys(username, address)
        wait = await self._ask("enter", keys)
        if wait is None:
            wait = self._local.enter(keys)
        if wait:
            raise LoginThrottled(retry_after=timedelta(seconds=wait))

    async def forgive(self, username: str, address: str) -> None:
        keys = _keys(username, address)
        if await self._ask("forgive", keys) is None:
            self._local.forgive(keys)

    async def _ask(self, verb: str, keys: list[str]) -> float | None:
        """Seconds to wait; None when Redis does not answer."""
        try:
            async with asyncio.timeout(SECONDS):
                return float(await self._script(keys=keys, args=[verb, *self._limits, WINDOW]))
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            log.warning("throttle_without_redis", error=type(error).__name__)
            return None


def _keys(username: str, address: str) -> list[str]:
    """Usernames that are one to the database are one here; a household has 2^64 addresses of IPv6."""
    name, place = unicodedata.normalize("NFKC", username).casefold(), _network(address)
    return [f"login:{_hash(name, place)}", f"login:{_hash(place)}"]


def _network(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(IPv6Network((found, 64), strict=False))
    return str(getattr(found, "ipv4_mapped", None) or found)


def _hash(*words: str) -> str:
    return hashlib.blake2b("\0".join(words).encode(errors="replace"), digest_size=16).hexdigest()
