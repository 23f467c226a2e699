"""What every request passes: an id, a bound on its body, one line in the log, one count in the metrics."""

import time
from collections.abc import Awaitable, Callable

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from domain.names import new_id
from infra.telemetry import REQUESTS

JSON_BODY = 1_000_000  # bytes; uploads have their own limit and are counted where they are received

_log = structlog.get_logger()


class Edge:
    """Outermost: gives the request its id and says afterwards how it went."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = new_id()
        seen = {"status": 500}

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = scope["request_id"]
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        began = time.perf_counter()
        with bound_contextvars(request_id=scope["request_id"]):
            try:
                await self._app(scope, receive, stamped)
            finally:
                _account(scope, seen["status"], time.perf_counter() - began)


class BodyLimit:
    """Counts bytes as they arrive: a Content-Length is only a claim."""

    def __init__(self, app: ASGIApp, unlimited: frozenset[str]) -> None:
        self._app = app
        self._unlimited = unlimited

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._unlimited:
            await self._app(scope, receive, send)
            return
        claimed = Headers(scope=scope).get("content-length", "0")
        if claimed.isdigit() and int(claimed) > JSON_BODY:
            receive = _refuse
        await self._app(scope, _counting(receive), send)


async def _refuse() -> Message:
    raise HTTPException(413)  # the one kind of exception that FastAPI lets pass while it reads a body


def _counting(receive: Receive) -> Callable[[], Awaitable[Message]]:
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > JSON_BODY:
            raise HTTPException(413)
        return message

    return counted


def _account(scope: Scope, status: int, seconds: float) -> None:
    """The matched route, not the path: paths hold ids and would make a series each."""
    route = getattr(scope.get("route"), "path", "unmatched")
    REQUESTS.labels(scope["method"], route, str(status)).observe(seconds)
    _log.info("request", method=scope["method"], route=route, status=status, ms=round(1000 * seconds, 1))
