"""One reader per process: a single blocking XREAD over every run's stream that somebody waits for."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import RedisError

from domain.events import CLOSING, Event, EventKind

Entry = tuple[str, dict[str, str]]
Entries = Sequence[Entry]
BLOCK = 5.0  # seconds that one XREAD waits; a lost wake-up costs no more than that
GRACE = 1.0
CANCEL_AGAIN = 0.1
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0  # seconds between attempts while Redis is away
WAKE_LIFETIME = 3600

_log = structlog.get_logger()


class Followed:
    """A stream, how far it was read from its beginning, and how many closing events it held so far.

    `log` has every event of it, one list for all that listen: how slow one of them is concerns nobody else.
    """

    def __init__(self, entries: Entries = (), *, keeps: bool = False) -> None:
        self.followers = 0
        self.position = "0"
        self.closings = 0
        self.log: list[Event] = []
        self._keeps = keeps
        self._news = asyncio.Event()
        self.take(entries)

    def take(self, entries: Entries) -> None:
        if not entries:
            return
        self.position = entries[-1][0]
        self.closings += sum(fields.get("type") in CLOSING for _, fields in entries)
        if self._keeps:
            self.log += filter(None, map(_event, entries))
        self._news.set()
        self._news = asyncio.Event()

    async def beyond(self, closings: int) -> None:
        while self.closings <= closings:
            await self._news.wait()

    async def longer(self, than: int) -> None:
        while len(self.log) <= than:
            await self._news.wait()


class Follower:
    """One who waits: a closing event tells it once, since a parked run goes on and ends another time."""

    def __init__(self, stream: Followed) -> None:
        self._stream = stream
        self._seen = 0

    async def closed(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stream.beyond(self._seen)
                self._seen = self._stream.closings
                return True
        return False


class LogListener:
    """One who reads everything, at a pace of its own."""

    def __init__(self, stream: Followed) -> None:
        self._stream = stream
        self._read = 0

    def unread(self) -> list[Event]:
        fresh = self._stream.log[self._read :]
        self._read += len(fresh)
        return fresh

    async def news(self, seconds: float) -> list[Event]:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stream.longer(self._read)
        return self.unread()


class RedisReader:
    """Starts with the first follower. A stream of our own wakes it when it has to wait for other streams as well."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._blocking = _own_connection(redis)
        self._wake = f"wake:{uuid.uuid4().hex}"
        self._woken = "0"
        self._streams: dict[str, Followed] = {}
        self._reading: dict[str, Followed] = {}  # what the XREAD under way waits for
        self._waking = False
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        """A cancel that meets the time-out of 0 s with which redis-py looks whether there is something to read is taken
        for that time-out, and is lost."""
        while self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CANCEL_AGAIN)
        await self._blocking.aclose()

    @asynccontextmanager
    async def follow(self, key: str) -> AsyncIterator[Follower]:
        async with self._following(key, Followed()) as stream:
            yield Follower(stream)

    @asynccontextmanager
    async def listen(self, key: str) -> AsyncIterator[LogListener]:
        past = [] if key in self._streams else await self._past(key)
        async with self._following(key, Followed(past, keeps=True)) as stream:
            yield LogListener(stream)

    @asynccontextmanager
    async def _following(self, key: str, fresh: Followed) -> AsyncIterator[Followed]:
        stream = self._streams.setdefault(key, fresh)
        stream.followers += 1
        try:
            await self._attend(key, stream)
            yield stream
        finally:
            stream.followers -= 1
            if not stream.followers:
                del self._streams[key]

    async def _past(self, key: str) -> Entries:
        """What is kept, as far as Redis answers; else it comes with the first read."""
        try:
            async with asyncio.timeout(GRACE):
                entries: Any = await self._redis.xrange(key)
                return list(entries)
        except (RedisError, OSError):
            return []

    async def _attend(self, key: str, stream: Followed) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        self._wanted.set()
        if self._reading and self._reading.get(key) is not stream and not self._waking:
            await self._ring()

    async def _ring(self) -> None:
        """One for all that came since the XREAD began. It is kept, so it counts even if it overtakes the XREAD."""
        self._waking = True
        try:
            async with asyncio.timeout(GRACE), self._redis.pipeline(transaction=False) as commands:
                commands.xadd(self._wake, {"type": "wake"}, maxlen=1, approximate=False)
                commands.expire(self._wake, WAKE_LIFETIME)
                await commands.execute()
        except (RedisError, OSError):
            self._waking = False
        except asyncio.CancelledError:
            self._waking = False
            raise

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await self._wanted.wait()
                await self._read()
                pause = FIRST_PAUSE
            except (RedisError, OSError) as error:
                if pause == FIRST_PAUSE:
                    _log.warning("event_reader_lost", error=type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _read(self) -> None:
        self._reading = dict(self._streams)
        if not self._reading:
            self._wanted.clear()
            return
        positions: dict[Any, Any] = {key: stream.position for key, stream in self._reading.items()}
        try:
            async with asyncio.timeout(BLOCK + GRACE):
                reply: Any = await self._blocking.xread({self._wake: self._woken, **positions}, block=int(1000 * BLOCK))
            for key, entries in reply:
                self._take(key, entries)
        finally:
            self._reading = {}
            self._waking = False

    def _take(self, key: str, entries: Entries) -> None:
        if key == self._wake:
            self._woken = entries[-1][0]
        else:
            self._reading[key].take(entries)


def _event(entry: Entry) -> Event | None:
    """None for what another release wrote."""
    event_id, fields = entry
    try:
        return Event(event_id, EventKind(fields["type"]), json.loads(fields["data"]), int(fields["attempt"]))
    except (KeyError, ValueError):
        return None


def _own_connection(redis: Redis) -> Redis:
    """To the same server, without the deadline of ordinary calls, and never waiting in their queue."""
    ordinary = redis.connection_pool
    kwargs = {**ordinary.connection_kwargs, "socket_timeout": BLOCK + GRACE}
    return Redis.from_pool(ConnectionPool(ordinary.connection_class, max_connections=1, **kwargs))
