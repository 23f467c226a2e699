"""What every request passes: an id, a bound on its body, one line in the log, one count in the metrics."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from api import rates
from api.errors import problem
from domain import errors
from domain.errors import MoorageError
from domain.names import new_id
from infra.telemetry import REQUESTS

JSON_BODY = 1_000_000  # bytes; uploads have their own limit and are counted where they are received
GONE = 499  # what the log says of a client that left

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
PAGES = frozenset({"/docs", "/redoc"})  # FastAPI's own, with scripts from a CDN and inline
PAGES_POLICY = (
    "default-src 'none'; connect-src 'self'; worker-src blob:; img-src 'self' data: https:; font-src https:; "
    "script-src 'unsafe-inline' https://cdn.jsdelivr.net; style-src 'unsafe-inline' https:; frame-ancestors 'none'"
)

_log = structlog.get_logger()


@dataclass
class _Answer:
    """What has been sent so far."""

    send: Send
    scope: Scope
    bare: bool
    status: int = 0
    ended: bool = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            _stamp(self.scope, MutableHeaders(scope=message))
        elif self.bare:
            if self.ended:
                return
            self.ended = True
            message = {"type": "http.response.body", "body": b""}
        await self.send(message)


class Edge:
    """Outermost: gives the request its id, answers where those inside only raise, says afterwards how it went.

    Inside, HEAD is GET; its body is left out here.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = _method(scope)
        bare = method == "HEAD"
        scope = {**scope, "request_id": new_id(), "method": "GET" if bare else scope["method"], "bare": bare}
        answer = _Answer(send, scope, bare=bare)
        began = time.perf_counter()
        with bound_contextvars(request_id=scope["request_id"]):
            try:
                await self._answer(scope, receive, answer)
            finally:
                _account(scope, method, answer.status or 500, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        """A fault of ours: the trace goes to the log, the caller gets the request id. An answer that has begun can only
        be broken off: the server then closes the connection, and its missing end tells the caller."""
        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            answer.status = GONE
        except MoorageError as error:
            await problem(Request(scope), error)(scope, receive, answer)
        except Exception as error:
            if answer.status and isinstance(error.__cause__, MoorageError):  # wrapped by the framework
                _log.warning("broken_off", code=error.__cause__.code)
                return
            _log.error("request_fault", error=type(error).__name__, exc_info=error)
            if answer.status:
                raise
            await problem(Request(scope), errors.Internal())(scope, receive, answer)


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
        if claimed.isdigit() and int(claimed[:12]) > JSON_BODY:
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


def _stamp(scope: Scope, headers: MutableHeaders) -> None:
    headers["X-Request-ID"] = scope["request_id"]
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if scope["path"] in PAGES:
        headers["Content-Security-Policy"] = PAGES_POLICY
    rates.stamp(scope, headers)


def _account(scope: Scope, method: str, status: int, seconds: float) -> None:
    """The matched route, not the path: paths hold ids and would make a series each."""
    route = getattr(scope.get("route"), "path", "unmatched")
    REQUESTS.labels(method, route, str(status)).observe(seconds)
    _log.info("request", method=method, route=route, status=status, ms=round(1000 * seconds, 1))


def _method(scope: Scope) -> str:
    """A caller may invent methods, but not series."""
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    return str(scope["method"]) if scope["method"] in known else "other"
