"""A TCP proxy that misbehaves on request: late, silent, cut, absent, or forgetful of one reply.

Faults are switched at run time and are repeatable: what chance decides comes from the seed.
"""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

PIECE = 64 * 1024
LINGER = 0.3  # seconds in which the server can do what was asked before the connection is cut


@dataclass(slots=True)
class Weather:
    """What happens to every piece that passes. Times are seconds, `cut` is a probability."""

    latency: float = 0.0
    jitter: float = 0.0
    cut: float = 0.0


@dataclass(eq=False, slots=True)
class Link:
    """One client's connection and ours to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    asked: int = 0  # bytes of requests since a reply was to be lost
    doomed: bool = False

    def cut(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()


@dataclass(eq=False)
class Proxy:
    """`async with Proxy(target, port):` listens on 127.0.0.1:port; port 0 picks one."""

    target: int
    port: int = 0
    seed: int = 0
    weather: Weather = field(default_factory=Weather)
    lost: int = 0  # replies

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._losing = 0
        self._at_least = 1

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def accept(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Nobody listens any more, and nobody is connected."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset()

    def reset(self) -> None:
        """Every connection of this moment is cut."""
        for link in list(self._links):
            link.cut()

    def stall(self) -> None:
        """Connections are accepted and nothing passes."""
        self._flowing.clear()

    def lose_reply(self, *, at_least: int = 1, times: int = 1) -> None:
        """The next requests of so many bytes reach the server; their replies reach nobody."""
        self._losing, self._at_least = times, at_least
        for link in self._links:
            link.asked = 0

    async def heal(self) -> None:
        self.weather = Weather()
        self._losing = 0
        self._flowing.set()
        await self.accept()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, server = await asyncio.open_connection("127.0.0.1", self.target)
        link = Link(writer, server)
        self._links.add(link)
        pumps = [
            asyncio.create_task(self._pump(link, reader, server, asking=True)),
            asyncio.create_task(self._pump(link, upstream, writer, asking=False)),
        ]
        try:
            await asyncio.gather(*pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            self._links.discard(link)
            link.cut()

    async def _pump(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, asking: bool
    ) -> None:
        while piece := await reader.read(PIECE):
            await self._pass(link)
            if asking:
                writer.write(piece)
                await writer.drain()
                self._asked(link, len(piece))
            elif not link.doomed:
                writer.write(piece)
                await writer.drain()
        with suppress(OSError, RuntimeError):
            if writer.can_write_eof():
                writer.write_eof()

    async def _pass(self, link: Link) -> None:
        weather = self.weather
        if pause := weather.latency + self._random.uniform(0, weather.jitter):
            await asyncio.sleep(pause)
        await self._flowing.wait()
        if weather.cut and self._random.random() < weather.cut:
            link.cut()

    def _asked(self, link: Link, size: int) -> None:
        link.asked += size
        if self._losing and not link.doomed and link.asked >= self._at_least:
            self._losing -= 1
            self.lost += 1
            link.doomed = True
            asyncio.get_running_loop().call_later(LINGER, link.cut)
