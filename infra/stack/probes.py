"""One look at whether somebody answers; never raises, never waits longer than a few seconds."""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

LIMIT = 3.0  # seconds


async def listens(port: int) -> bool:
    """Something accepts connections on this port of this machine."""
    return await exchange("127.0.0.1", port, b"", lines=0) is not None


async def answers(url: str) -> bool:
    """A GET is answered with 200, over plain HTTP."""
    # By hand: an HTTP client loads every root certificate first, which cost a third of a core while looking.
    parts = urlsplit(url)
    request = f"GET {parts.path} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n"
    reply = await exchange(parts.hostname or "127.0.0.1", parts.port or 80, request.encode(), lines=1)
    return reply is not None and b" 200 " in reply


def answering(url: str) -> Callable[[], Awaitable[bool]]:
    """The look itself, to hand over."""

    async def look() -> bool:
        return await answers(url)

    return look


async def exchange(host: str, port: int, request: bytes, *, lines: int) -> bytes | None:
    """Send the request and read that many lines of the reply; None when nobody is there in time."""
    try:
        async with asyncio.timeout(LIMIT):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                return b"".join([await reader.readline() for _ in range(lines)])
            finally:
                writer.close()
    except OSError:  # TimeoutError is one
        return None
