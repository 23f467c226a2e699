"""How fast a provider may be asked, learned by all processes together in Redis; the rules are in limiter.lua."""

import asyncio
import random
import time
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.errors import MoorageError, ProviderRateLimited, ProviderUnavailable, by_code
from domain.pace import Lane

SECONDS = 0.5  # our deadline for Redis: nobody's answer waits for it longer
REST = 2.0  # seconds that a silent Redis is not asked again, so that it costs the deadline only now and then
LONGEST_WAIT = 600.0  # handed out without Redis

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Reply:
    """`code` keeps the caller out for `wait` seconds; the pause ends in `quiet`."""

    code: str
    wait: float
    quiet: float


class RedisLimiter:
    """Limiter. While Redis is silent calls pass, except during a pause this process knows of; Redis is told of it
    when it is back.
    """

    def __init__(self, redis: Redis, *, rest: float = REST) -> None:
        self._script = redis.register_script(files("infra").joinpath("limiter.lua").read_text(encoding="utf-8"))
        self._pauses: dict[str, tuple[float, str]] = {}  # until when (monotonic), and why
        self._untold: set[str] = set()
        self._rest = rest
        self._rests_until = 0.0

    async def enter(self, lane: Lane) -> None:
        known = self._remembered(lane)
        if known.code and lane.name in self._untold:
            reply = await self._tell(lane, known)
        else:
            reply = await self._ask("enter", lane) or known
        if reply.code:
            raise _kept_out(reply)

    async def refused(self, lane: Lane, error: ProviderRateLimited | ProviderUnavailable) -> timedelta | None:
        asked = None if error.retry_after is None else error.retry_after.total_seconds()
        verb = "silent" if isinstance(error, ProviderUnavailable) else "refused"
        reply = await self._ask(verb, lane, error.code, asked)
        if reply is None:
            self._remember(lane, error.code, asked or 0.0)
            self._untold.add(lane.name)
            reply = self._remembered(lane)
        if not reply.code:
            return None
        _log.warning("provider_pause", lane=lane.name, code=reply.code, seconds=reply.quiet, wait=reply.wait)
        return timedelta(seconds=reply.wait)

    async def answered(self, lane: Lane) -> None:
        await self._ask("answered", lane)

    async def _tell(self, lane: Lane, known: _Reply) -> _Reply:
        reply = await self._ask("refused", lane, known.code, known.quiet)
        if reply is not None:
            self._untold.discard(lane.name)
        return reply or known

    async def _ask(self, verb: str, lane: Lane, code: str = "", asked: float | None = None) -> _Reply | None:
        """None when Redis does not answer."""
        if time.monotonic() < self._rests_until:
            return None
        queue = "patient" if lane.patient else "urgent"
        args: list[str | float] = [verb, queue, random.random(), code, "" if asked is None else asked]
        try:
            async with asyncio.timeout(SECONDS):
                found, wait, quiet = await self._script(keys=[f"limiter:{lane.name}"], args=args)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._rests_until = time.monotonic() + self._rest
            _log.warning("limiter_without_redis", error=type(error).__name__)
            return None
        reply = _Reply(found, float(wait), float(quiet))
        self._remember(lane, reply.code, reply.quiet)
        return reply

    def _remember(self, lane: Lane, code: str, seconds: float) -> None:
        until, _ = self._pauses.get(lane.name, (0.0, ""))
        if code and time.monotonic() + seconds > until:
            self._pauses[lane.name] = time.monotonic() + seconds, code

    def _remembered(self, lane: Lane) -> _Reply:
        until, code = self._pauses.get(lane.name, (0.0, ""))
        left = until - time.monotonic()
        if left <= 0:
            return _Reply("", 0.0, 0.0)
        return _Reply(code, min(left + random.random() * max(1.0, left), LONGEST_WAIT), left)


def _kept_out(reply: _Reply) -> MoorageError:
    detail = "The call was not made: the model provider has asked for a pause or for fewer calls."
    return by_code(reply.code)(detail, retry_after=timedelta(seconds=reply.wait))
