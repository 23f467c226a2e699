"""A run's events in Redis: a short stream of its ends, for who waits, and a log of everything, for who reads."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from domain.accounts import Principal
from domain.errors import RedisUnavailable
from domain.events import Event, EventKind
from domain.ports import Listener, Voice, Waiter
from infra.redis import deadline
from infra.redis_reader import RedisReader

LIFETIME = timedelta(hours=1)  # after the last event
LONGEST = 20_000  # events of a log, about; the oldest go first
PAUSE = 0.03  # seconds between two pieces of an answer: what is said meanwhile goes in one event


class RedisEvents:
    """All waiters and listeners of a process share one reader."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._reader = RedisReader(redis)

    async def aclose(self) -> None:
        """Before the client it was built with is closed."""
        await self._reader.aclose()

    async def publish(self, principal: Principal, workflow_id: str, event: EventKind) -> None:
        ends = _ends(principal, workflow_id)
        async with self._writing(workflow_id) as commands:
            _append(commands, _log(principal, workflow_id), Event("", event))
            commands.xadd(ends, {"type": event})
            commands.expire(ends, LIFETIME)

    async def note(
        self, principal: Principal, workflow_id: str, kind: EventKind, data: Mapping[str, Any], attempt: int = 1
    ) -> None:
        async with self._writing(workflow_id) as commands:
            _append(commands, _log(principal, workflow_id), Event("", kind, data, attempt))

    @asynccontextmanager
    async def speak(self, principal: Principal, workflow_id: str, attempt: int) -> AsyncIterator[Voice]:
        voice = RedisVoice(self._redis, _log(principal, workflow_id), workflow_id, attempt)
        try:
            yield voice
        finally:
            await voice.aclose()

    def follow(self, principal: Principal, workflow_id: str) -> AbstractAsyncContextManager[Waiter]:
        return self._reader.follow(_ends(principal, workflow_id))

    def listen(self, principal: Principal, workflow_id: str) -> AbstractAsyncContextManager[Listener]:
        return self._reader.listen(_log(principal, workflow_id))

    async def drop(self, principal: Principal, workflow_ids: Sequence[str]) -> None:
        """Raises RedisUnavailable."""
        if workflow_ids:
            keys = [key(principal, run) for run in workflow_ids for key in (_ends, _log)]
            async with deadline("events_not_dropped"):
                await self._redis.delete(*keys)

    @asynccontextmanager
    async def _writing(self, workflow_id: str) -> AsyncIterator[Pipeline]:
        """Never fails a run: what cannot be published is found in the row."""
        with suppress(RedisUnavailable):
            async with deadline("event_not_published", workflow=workflow_id):
                commands = self._redis.pipeline(transaction=False)
                yield commands
                await commands.execute()


class RedisVoice:
    """Port Voice. Notices when Redis has lost the log, and says everything again."""

    def __init__(self, redis: Redis, log: str, workflow_id: str, attempt: int) -> None:
        self._redis = redis
        self._log = log
        self._workflow_id = workflow_id
        self._attempt = attempt
        self._sources: Event | None = None
        self._said: list[str] = []
        self._unsaid: list[str] = []
        self._begun = False
        self._hurry = asyncio.Event()
        self._speaking: asyncio.Task[None] | None = None

    def show(self, sources: Sequence[Mapping[str, Any]]) -> None:
        self._sources = self._event(EventKind.SOURCES, {"sources": list(sources)})

    def say(self, text: str) -> None:
        if not text:
            return
        self._unsaid.append(text)
        if self._speaking is None or self._speaking.done():
            self._speaking = asyncio.create_task(self._speak())

    async def aclose(self) -> None:
        """All of it is in the log, or Redis is away."""
        self._hurry.set()
        if self._speaking is not None:
            await self._speaking
        if self._sources is not None and not self._begun:
            await self._send()

    async def _speak(self) -> None:
        while self._unsaid:
            await self._send()
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE):
                    await self._hurry.wait()

    async def _send(self) -> None:
        piece = "".join(self._unsaid)
        self._unsaid.clear()
        self._said.append(piece)
        with suppress(RedisUnavailable):
            async with deadline("event_not_published", workflow=self._workflow_id):
                if not self._begun or not await self._added(piece):
                    await self._begin()

    async def _added(self, piece: str) -> bool:
        """False when there is nothing to add to any more."""
        entry = _fields(self._event(EventKind.TOKEN, {"text": piece}))
        return await self._redis.xadd(self._log, entry, nomkstream=True) is not None

    async def _begin(self) -> None:
        """From the beginning: the first time, or anew."""
        commands = self._redis.pipeline(transaction=True)
        if self._begun or self._attempt > 1:
            _append(commands, self._log, self._event(EventKind.RESET, {"attempt": self._attempt}))
        if self._sources is not None:
            _append(commands, self._log, self._sources)
        if text := "".join(self._said):
            _append(commands, self._log, self._event(EventKind.TOKEN, {"text": text}))
        await commands.execute()
        self._begun = True

    def _event(self, kind: EventKind, data: Mapping[str, Any]) -> Event:
        return Event("", kind, data, self._attempt)


def _append(commands: Pipeline, log: str, event: Event) -> None:
    commands.xadd(log, _fields(event), maxlen=LONGEST)
    commands.expire(log, LIFETIME)


def _fields(event: Event) -> dict[Any, Any]:
    data = json.dumps(event.data, ensure_ascii=False, separators=(",", ":"))
    return {"type": event.kind, "attempt": event.attempt, "data": data}


def _ends(principal: Principal, workflow_id: str) -> str:
    return f"{principal.tenant}:events:{workflow_id}"


def _log(principal: Principal, workflow_id: str) -> str:
    return f"{principal.tenant}:log:{workflow_id}"
