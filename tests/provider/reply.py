"""One reply of the scripted provider, with its pauses and its fault."""

import asyncio
from dataclasses import dataclass
from typing import Any

from tests.provider import bodies, wire, words
from tests.provider.manners import Manners
from tests.provider.script import Ask, Fault


class Departed(Exception):
    """The client closed the connection before the end of its reply."""


@dataclass(slots=True)
class Sent:
    """What a reply came to, filled in as it is sent."""

    status: int = 200
    prompt_tokens: int = 0
    completion_tokens: int = 0
    delivered: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """`left` is set when the client has gone: every pause ends then, with Departed."""

    ask: Ask
    fault: Fault
    manners: Manners
    number: int
    writer: asyncio.StreamWriter
    left: asyncio.Event
    sent: Sent

    async def send(self) -> None:
        """Raises Departed or ConnectionError; `sent` is right in any case."""
        await self._pause(self.manners.latency)
        if self.fault.hang_at == 0:
            await self._hang()
        if self.fault.cut_at == 0:
            self.writer.transport.abort()
        elif self.fault.status is not None or self.fault.largest is not None:
            self._refuse(self.fault.status or 413)
        elif self.fault.body is not None:
            self.writer.write(
                wire.whole(200, self.fault.body.encode(errors="surrogateescape"), _content_type(self.fault.body))
            )
        elif self.ask.kind == "models":
            self._finish(bodies.models(self.manners.models))
        elif self.ask.kind == "embedding":
            self._embed()
        else:
            await self._chat()
        await self.writer.drain()

    def _refuse(self, status: int) -> None:
        self.sent.status = status
        headers = {"retry-after": self.fault.retry_after, "retry-after-ms": self.fault.retry_after_ms}
        told = {name: str(value) for name, value in headers.items() if value is not None}
        self.writer.write(wire.whole(status, bodies.error(status, self.fault.code), extra=told))

    def _embed(self) -> None:
        self.sent.prompt_tokens = sum(words.count(text) for text in self.ask.inputs)
        dimensions = self.ask.body.get("dimensions") or self.manners.dimensions
        self._finish(bodies.embeddings(self.ask, self._model, dimensions, self.sent.prompt_tokens, self.fault))

    async def _chat(self) -> None:
        text = self.manners.answer(self.ask) if self.fault.text is None else self.fault.text
        pieces, cut = words.pieces(text, self.ask.max_tokens)
        finish = self.fault.finish or ("length" if cut else "stop")
        self.sent.prompt_tokens = words.prompt_tokens(self.ask.messages)
        if self.ask.stream:
            await self._stream(pieces, finish)
        else:
            self._count(len(pieces))
            used = self._usage()
            self._finish(bodies.completion(self.number, self._model, "".join(pieces), finish, used))

    async def _stream(self, pieces: list[str], finish: str) -> None:
        """Nothing to wait for and nothing to spoil: one write, as a bare server under load would do."""
        events = [bodies.opening(self.number, self._model), *bodies.deltas(self.number, self._model, pieces)]
        if not self.manners.pace and not self.fault.interrupts:
            self._count(len(pieces))
            self._write([wire.stream_head(), *map(wire.chunk, events + self._end(finish)), wire.LAST_CHUNK])
            self.sent.delivered = True
            return
        self._write([wire.stream_head(), wire.chunk(events[0])])
        for spoken, event in enumerate(events[1:]):
            if await self._interrupted(spoken):
                return
            await self._pause(self.manners.pace)
            self._write([wire.chunk(event)])
            self._count(spoken + 1)
        if not await self._interrupted(len(pieces)):
            self._write([*map(wire.chunk, self._end(finish)), wire.LAST_CHUNK])
            self.sent.delivered = True

    def _end(self, finish: str) -> list[bytes]:
        events = [bodies.closing(self.number, self._model, finish)]
        wanted = (self.ask.body.get("stream_options") or {}).get("include_usage")
        if wanted and (used := self._usage()):
            events.append(bodies.final_usage(self.number, self._model, used))
        return [*events, bodies.DONE]

    async def _interrupted(self, spoken: int) -> bool:
        """The fault's moment has come: hang, cut, stop short or report an error."""
        if spoken == self.fault.hang_at:
            await self._hang()
        if spoken == self.fault.cut_at:
            await self._flush()
            self.writer.transport.abort()
        elif spoken == self.fault.error_at:
            self._write([wire.chunk(bodies.error_event(self.fault.code)), wire.LAST_CHUNK])
        elif spoken == self.fault.end_at:
            self._write([wire.LAST_CHUNK])
        else:
            return False
        return True

    async def _flush(self) -> None:
        """An abort throws away what the socket has not taken; a reset overtakes what the client has not read."""
        await self.writer.drain()
        await self._pause(0.05)

    async def _pause(self, seconds: float) -> None:
        if seconds <= 0:
            return
        try:
            await asyncio.wait_for(self.left.wait(), seconds)
        except TimeoutError:
            return
        raise Departed

    async def _hang(self) -> None:
        await self.left.wait()
        raise Departed

    def _write(self, parts: list[bytes]) -> None:
        self.writer.write(b"".join(parts))

    def _finish(self, body: bytes) -> None:
        self.writer.write(wire.whole(200, body))
        self.sent.delivered = True

    def _count(self, pieces: int) -> None:
        self.sent.completion_tokens = words.tokens(pieces)

    def _usage(self) -> dict[str, Any]:
        true = bodies.usage(self.sent.prompt_tokens, self.sent.completion_tokens)
        return true if self.fault.usage is None else self.fault.usage

    @property
    def _model(self) -> str:
        """`gpt-4o-mini#17` of the 17th call, where that is wanted."""
        return self.fault.model or (f"{self.ask.model}#{self.number}" if self.manners.numbered else self.ask.model)


def _content_type(body: str) -> str:
    if body.startswith("data:"):
        return "text/event-stream"
    return "text/html" if body.startswith("<") else "application/json"
