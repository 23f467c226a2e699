"""Failed log-ins, counted in Redis before a password is hashed; the rules are in throttle.lua.

There is no tenant before a log-in: these keys, like the provider's pace, belong to the whole platform. They hold
hashes, neither names nor addresses.
"""

import asyncio
import hashlib
import time
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.resources import files
from ipaddress import IPv6Address, IPv6Network, ip_address
from weakref import WeakValueDictionary

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.errors import InvalidCredentials, LoginThrottled

WINDOW = 900.0  # seconds, from the first failure
PER_ACCOUNT = 5  # failures of one username from one address, so that its owner still gets in from elsewhere
PER_ADDRESS = 100  # failures of one address, whatever the username: an office shares one
SECONDS = 0.5  # our deadline for Redis
REST = 2.0  # seconds that a silent Redis is not asked again
MOST = 10_000  # buckets that a process keeps without Redis

_log = structlog.get_logger()


@dataclass(slots=True)
class _Local:
    """The same rules in this process's memory."""

    limits: tuple[int, int]
    buckets: dict[str, tuple[int, float]] = field(default_factory=dict)  # failures, and when (monotonic) they lapse

    def ask(self, verb: str, keys: list[str]) -> float:
        now = time.monotonic()
        account, address = (self._bucket(key, now) for key in keys)
        if verb == "enter":
            buckets = zip((account, address), self.limits, strict=True)
            if wait := max((until - now for (count, until), limit in buckets if count >= limit), default=0.0):
                return wait
        change = 1 if verb == "enter" else -1
        self._keep(keys[0], 0 if verb == "forgive" else account[0] + change, account[1])
        self._keep(keys[1], address[0] + change, address[1])
        return 0.0

    def _keep(self, key: str, count: int, until: float) -> None:
        self.buckets.pop(key, None)
        if count > 0:
            self.buckets[key] = count, until
        while len(self.buckets) > MOST:
            del self.buckets[next(iter(self.buckets))]

    def _bucket(self, key: str, now: float) -> tuple[int, float]:
        count, until = self.buckets.get(key, (0, 0.0))
        return (count, until) if until > now else (0, now + WINDOW)


class RedisThrottle:
    """Port Throttle."""

    def __init__(self, redis: Redis, *, per_address: int = PER_ADDRESS) -> None:
        self._script = redis.register_script(files("infra").joinpath("throttle.lua").read_text(encoding="utf-8"))
        self._limits = (PER_ACCOUNT, per_address)
        self._local = _Local(self._limits)
        self._rests_until = 0.0
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def attempt(self, username: str, address: str) -> AsyncIterator[None]:
        keys = _keys(username, address)
        async with self._turns.setdefault(keys[0], asyncio.Lock()):
            if wait := await self._ask("enter", keys):
                raise LoginThrottled(retry_after=timedelta(seconds=wait))
            outcome = "withdraw"
            try:
                yield
                outcome = "forgive"
            except InvalidCredentials:
                outcome = ""
                raise
            finally:
                if outcome:
                    await self._ask(outcome, keys)

    async def _ask(self, verb: str, keys: list[str]) -> float:
        """Seconds to wait."""
        if time.monotonic() < self._rests_until:
            return self._local.ask(verb, keys)
        try:
            async with asyncio.timeout(SECONDS):
                return float(await self._script(keys=keys, args=[verb, *self._limits, WINDOW]))
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._rests_until = time.monotonic() + REST
            _log.warning("throttle_without_redis", error=type(error).__name__)
            return self._local.ask(verb, keys)


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
