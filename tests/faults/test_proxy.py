"""The proxy breaks what it is told to break, or the suites that rely on it prove nothing."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.faults.proxy import Proxy, Weather


@pytest.fixture
async def heard() -> list[bytes]:
    return []


@pytest.fixture
async def proxy(heard: list[bytes]) -> AsyncIterator[Proxy]:
    """In front of an echo."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            heard.append(data)
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with Proxy(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()
    await server.wait_closed()


async def said(proxy: Proxy, words: bytes, seconds: float = 1.0) -> bytes:
    """What comes back; nothing when the connection is cut. Raises TimeoutError, ConnectionRefusedError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(words)
        return await asyncio.wait_for(reader.read(1000), seconds)
    except ConnectionResetError:
        return b""
    finally:
        writer.transport.abort()


async def test_it_passes_everything_on(proxy: Proxy) -> None:
    assert await said(proxy, b"hello") == b"hello"


async def test_a_lost_reply_was_a_request_that_arrived(proxy: Proxy, heard: list[bytes]) -> None:
    proxy.lose_reply()

    assert await said(proxy, b"hello") == b""
    assert (heard, proxy.lost) == ([b"hello"], 1)
    assert await said(proxy, b"again") == b"again"


async def test_while_it_refuses_nobody_connects(proxy: Proxy) -> None:
    await proxy.refuse()

    with pytest.raises(ConnectionRefusedError):
        await said(proxy, b"hello")
    await proxy.heal()
    assert await said(proxy, b"again") == b"again"


async def test_while_it_stalls_nothing_passes(proxy: Proxy, heard: list[bytes]) -> None:
    proxy.stall()

    with pytest.raises(TimeoutError):
        await said(proxy, b"hello", seconds=0.1)
    assert heard == []


async def test_a_storm_cuts_every_connection(proxy: Proxy) -> None:
    proxy.weather = Weather(latency=0.01, jitter=0.01, cut=1.0)

    assert await said(proxy, b"hello") == b""
