"""As much of HTTP/1.1 as the scripted provider needs: read a request, write a whole or a chunked reply."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LARGEST_HEAD = 64 * 1024
LARGEST_BODY = 32 * 1024 * 1024
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 413: "Content Too Large"}
LAST_CHUNK = b"0\r\n\r\n"


class Reader(asyncio.StreamReader):
    """Knows that the client has left without reading on, where a next request may wait."""

    def __init__(self) -> None:
        super().__init__(limit=LARGEST_HEAD)
        self.left = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.left.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.left.set()


class Unreadable(Exception):
    """What came in is no request this server can answer."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One request off the wire; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def api_key(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    def json(self) -> dict[str, Any]:
        """Raises Unreadable unless the body is a JSON object or there is none."""
        try:
            found = json.loads(self.body or b"{}")
        except ValueError as error:
            raise Unreadable from error
        if not isinstance(found, dict):
            raise Unreadable
        return found


async def read(reader: asyncio.StreamReader) -> Incoming | None:
    """The next request of a connection, None when the client has left. Raises Unreadable."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except asyncio.LimitOverrunError as error:
        raise Unreadable from error
    lines = head.decode("latin-1").split("\r\n")
    method, path, _ = (lines[0] + "  ").split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > LARGEST_BODY or "transfer-encoding" in headers:
        raise Unreadable
    try:
        return Incoming(method, path.partition("?")[0], headers, await reader.readexactly(int(length)))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def whole(status: int, body: bytes, kind: str = "application/json", extra: Mapping[str, str] | None = None) -> bytes:
    """A complete reply with its length."""
    return _head(status, {"content-type": kind, "content-length": str(len(body)), **(extra or {})}) + body


def stream_head() -> bytes:
    return _head(200, {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"})


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Scripted')}", *(f"{name}: {headers[name]}" for name in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
