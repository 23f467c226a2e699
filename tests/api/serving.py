"""The API behind a real server on loopback, in this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvicorn

from api.app import create_app
from api.protocol import DeadlineProtocol
from api.serve import config
from tests.platform import Platform


@dataclass(frozen=True)
class Server:
    port: int
    uvicorn: uvicorn.Server
    task: "asyncio.Task[None]"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def open(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        return reader, writer

    async def ask(self, data: bytes) -> bytes:
        """All that comes until the server closes."""
        reader, writer = await self.open(data)
        try:
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()


@asynccontextmanager
async def serving(platform: Platform, protocol: type[DeadlineProtocol] = DeadlineProtocol) -> AsyncIterator[Server]:
    chosen = config(create_app(platform.services), platform.services.settings)
    chosen.http, chosen.port = protocol, 0
    async with running_on(chosen) as server:
        yield server


@asynccontextmanager
async def running_on(chosen: uvicorn.Config) -> AsyncIterator[Server]:
    running = uvicorn.Server(chosen)
    running.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(running._serve())
    async with asyncio.timeout(10):
        while not running.started:
            await asyncio.sleep(0.01)
    yield Server(running.servers[0].sockets[0].getsockname()[1], running, task)
    running.should_exit = True
    await asyncio.wait_for(task, 15)
