"""A model provider that speaks the OpenAI protocol, does as it is told and remembers what it was asked.

`async with ScriptedProvider() as provider:` serves `provider.base_url` from this event loop;
`python -m tests.provider` serves from a process of its own, with `GET /_calls` and `POST /_script` for the rest.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from tests.provider import bodies, wire
from tests.provider.calls import LEFT, PENDING, Call, Calls
from tests.provider.manners import Manners
from tests.provider.reply import Departed, Reply, Sent
from tests.provider.script import Ask, Fault, Kind, Script
from tests.provider.wire import Incoming, Reader

CONNECTIONS = 1024
PATHS: dict[tuple[str, str], Kind] = {
    ("POST", "/v1/chat/completions"): "chat",
    ("POST", "/v1/embeddings"): "embedding",
    ("GET", "/v1/models"): "models",
}


class ScriptedProvider:
    """Loopback only, at most 1,024 connections, bodies of at most 32 MB. `manners` may be changed at any time."""

    def __init__(self, *, port: int = 0, latency: float = 0.0, pace: float = 0.0, dimensions: int = 384) -> None:
        self._usual = {"latency": latency, "pace": pace, "dimensions": dimensions}
        self.manners = Manners(**self._usual)  # type: ignore[arg-type]
        self._port = port
        self._script = Script()
        self._calls = Calls()
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def calls(self) -> list[Call]:
        """Every call so far, oldest first, those being answered included."""
        return self._calls.all()

    def script(self, *faults: Fault) -> None:
        """Faults for the calls to come, in this order."""
        self._script.add(*faults)

    def forgive(self) -> None:
        """Forget the faults that are still to come."""
        self._script.clear()

    def reset(self) -> None:
        """Forget calls and faults and behave as at the start; for a provider that several tests share."""
        self._calls.clear()
        self._script.clear()
        self.manners = Manners(**self._usual)  # type: ignore[arg-type]

    async def until(self, reached: Callable[[list[Call]], bool], seconds: float = 10.0) -> list[Call]:
        """The calls, as soon as they are as wanted. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not reached(self.calls):
                self._changed.clear()
                await self._changed.wait()
        return self.calls

    async def idle(self, seconds: float = 10.0) -> list[Call]:
        """The calls, as soon as none is being answered. Raises TimeoutError."""
        return await self.until(lambda calls: all(call.status != PENDING for call in calls), seconds)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        clients = list(self._clients)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await self._server.wait_closed()

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        reader = Reader()
        return asyncio.StreamReaderProtocol(reader, lambda _, writer: self._accept(reader, writer))

    def _accept(self, reader: Reader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= CONNECTIONS:
            writer.transport.abort()
            return
        client = asyncio.create_task(self._serve(reader, writer))
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _serve(self, reader: Reader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing() and (incoming := await wire.read(reader)) is not None:
                await self._route(incoming, reader, writer)
        except wire.Unreadable:
            writer.write(wire.whole(400, bodies.error(400, "unreadable")))
        except (Departed, ConnectionError):
            pass  # noted in the call already
        finally:
            writer.close()

    async def _route(self, incoming: Incoming, reader: Reader, writer: asyncio.StreamWriter) -> None:
        if incoming.path.startswith("/_"):
            writer.write(self._control(incoming))
        elif kind := PATHS.get((incoming.method, incoming.path)):
            await self._answer(Ask(kind, incoming.json()), incoming.api_key, reader, writer)
        else:
            writer.write(wire.whole(404, bodies.error(404, "not_found")))

    async def _answer(self, ask: Ask, key: str, reader: Reader, writer: asyncio.StreamWriter) -> None:
        call = self._calls.open(ask, key)
        self._changed.set()
        sent = Sent()
        try:
            await Reply(ask, self._fault(ask, key), self.manners, call.number, writer, reader.left, sent).send()
        except (Departed, ConnectionError, asyncio.CancelledError):
            sent.status = LEFT
            raise
        finally:
            self._calls.note(call.number, **asdict(sent))
            self._changed.set()

    def _fault(self, ask: Ask, key: str) -> Fault:
        if self.manners.api_key not in (None, key):
            return Fault(status=401, code="invalid_api_key")
        return self._script.next(ask)

    def _control(self, incoming: Incoming) -> bytes:
        """`GET /_calls`; `POST /_script {reset, latency, pace, answer, faults}`, every field optional."""
        if (incoming.method, incoming.path) == ("GET", "/_calls"):
            return wire.whole(200, bodies.dump([call.as_json() for call in self.calls]))
        if (incoming.method, incoming.path) != ("POST", "/_script"):
            return wire.whole(404, b"{}")
        try:
            self._obey(**incoming.json())
        except (ValueError, TypeError) as error:
            return wire.whole(400, bodies.dump({"error": str(error)}))
        return wire.whole(200, b"{}")

    def _obey(
        self,
        *,
        reset: bool = False,
        latency: float | None = None,
        pace: float | None = None,
        answer: str | None = None,
        faults: tuple[dict[str, Any], ...] = (),
    ) -> None:
        told = [Fault(**fault) for fault in faults]
        if reset:
            self.reset()
        if latency is not None:
            self.manners.latency = float(latency)
        if pace is not None:
            self.manners.pace = float(pace)
        if answer is not None:
            self.manners.answer = lambda _: answer
        self.script(*told)
