"""What no route needs to see: ambiguous framing, foreign hosts and origins, characters that no store keeps."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from domain.errors import MalformedRequest

ONCE = (b"host", b"authorization", b"content-length", b"content-type", b"idempotency-key")
MOST_HEADERS = 100
LONGEST_HEADERS = 16_384  # bytes; h11 bounds only what is incomplete
ANY_HOST = frozenset({"/healthz", "/readyz"})  # probes call by address

METHODS = ("GET", "POST", "PATCH", "DELETE")
SENT = ("Authorization", "Content-Type", "Idempotency-Key", "Prefer", "Last-Event-ID", "If-Match")
SHOWN = (
    *("Location", "Retry-After", "ETag", "Preference-Applied", "X-Request-ID", "X-Workflow-ID"),
    *("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
)


class Gate:
    """Raises MalformedRequest; whoever stands outside renders it."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = [host.lower() for host in hosts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            _framing(scope)
            _characters(scope)
            if scope["path"] not in ANY_HOST:
                self._host(Headers(scope=scope).get("host", ""))
        await self._app(scope, receive, send)

    def _host(self, given: str) -> None:
        host = given.lower() if given.endswith("]") else given.lower().rpartition(":")[0] or given.lower()
        if not any(_names(pattern, host) for pattern in self._hosts):
            raise MalformedRequest("The Host is none that this API answers to (MOORAGE_HOSTS).")


class Origins(CORSMiddleware):
    """Pages of the listed origins only, and never with cookies: identity is the bearer token."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(app, origins, METHODS, SENT, allow_credentials=False, expose_headers=SHOWN)

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code >= 400:
            raise MalformedRequest("This origin, method or header is not allowed here (MOORAGE_CORS_ORIGINS).")
        return response


def _names(pattern: str, host: str) -> bool:
    return pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def _framing(scope: Scope) -> None:
    names = [name for name, _ in scope["headers"]]
    if len(names) > MOST_HEADERS or sum(len(name) + len(value) for name, value in scope["headers"]) > LONGEST_HEADERS:
        raise MalformedRequest("Too many headers, or too long ones.")
    for name in ONCE:
        if names.count(name) > 1:
            raise MalformedRequest(f"The header {name.decode()} is given twice.")
    if b"content-length" in names and b"transfer-encoding" in names:
        raise MalformedRequest("Content-Length and Transfer-Encoding exclude each other.")


def _characters(scope: Scope) -> None:
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        raise MalformedRequest("The path or query holds the character NUL.")
