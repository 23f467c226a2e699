"""How often one may ask: an account by its token, an address without one. The figures go out with every answer."""

from datetime import timedelta

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.deps import Caller, Platform
from api.errors import problem
from domain import rates
from domain.errors import RateLimited
from domain.rates import Rate
from infra.services import Services

EXEMPT = frozenset({"/healthz", "/readyz", "/health", "/metrics"})


async def account_pace(request: Request, principal: Caller, platform: Platform) -> None:
    """Runs after authentication and before anything else. Raises RateLimited."""
    request.scope["rate"] = None
    if limit := platform.settings.per_minute:
        _note(request.scope, await platform.rates.take(rates.of_account(principal), limit))


class AddressPace:
    """Counts what no account answers for: a call without a token before it does anything, and a call whose token was
    refused or never looked at once that is known."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._rates = services.rates
        self._limit = services.settings.per_minute_anonymous

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._limit or scope["path"] in EXEMPT:
            await self._app(scope, receive, send)
        elif "authorization" not in Headers(scope=scope):
            await self._count(scope)
            await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, self._later(scope, receive, send))

    async def _count(self, scope: Scope) -> None:
        address = (scope.get("client") or ("", 0))[0]
        _note(scope, await self._rates.take(rates.of_address(address), self._limit))

    def _later(self, scope: Scope, receive: Receive, send: Send) -> Send:
        refused = False

        async def counted(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and "rate" not in scope:
                try:
                    await self._count(scope)
                except RateLimited as error:
                    refused = True
                    await problem(Request(scope), error)(scope, receive, send)
            if not refused:
                await send(message)

        return counted


def stamp(scope: Scope, headers: MutableHeaders) -> None:
    rate: Rate | None = scope.get("rate")
    if rate is not None:
        headers["RateLimit-Limit"] = str(rate.limit)
        headers["RateLimit-Remaining"] = str(rate.remaining)
        headers["RateLimit-Reset"] = str(rate.reset)


def _note(scope: Scope, rate: Rate) -> None:
    scope["rate"] = rate
    if rate.exceeded:
        raise RateLimited(retry_after=timedelta(seconds=rate.reset))
