"""What a route may ask for. The signature is the policy: a route with a Caller needs a valid token."""

from typing import Annotated

from fastapi import Depends, Header, Query, Request

from domain.accounts import Principal, Role
from domain.errors import AccountDisabled, Forbidden, InvalidRequest, Unauthenticated
from infra import opaque
from infra.services import Services

LONGEST_WAIT = 60


def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


async def caller(request: Request) -> Principal:
    """Identity comes from the bearer token and nowhere else; its prefix says of which kind it is."""
    token = _bearer(request)
    if token.startswith(opaque.KEY):
        return await services(request).keys.verify(token)
    return services(request).tokens.verify(token)


def signed_in(request: Request, principal: Annotated[Principal, Depends(caller)]) -> Principal:
    """By a login: an API key that leaked must not give access to anybody else, nor make another key."""
    if _bearer(request).startswith(opaque.KEY):
        raise Forbidden("This needs an access token; an API key is not enough. Log in.")
    return principal


async def owner(request: Request, principal: Annotated[Principal, Depends(signed_in)]) -> Principal:
    """As the account's row says now, whatever the token says."""
    account = await services(request).accounts.account(principal)
    if not account.is_active:
        raise AccountDisabled
    if account.role is not Role.OWNER:
        raise Forbidden("This needs an owner of your tenant.")
    return principal


def _bearer(request: Request) -> str:
    credentials = request.headers.getlist("authorization")
    if len(credentials) != 1:
        raise Unauthenticated
    scheme, _, token = credentials[0].partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    return token.strip()


def idempotency_key(idempotency_key: Annotated[str | None, Header(max_length=255)] = None) -> str | None:
    if idempotency_key is None:
        return None
    if not idempotency_key or not all(" " <= character <= "~" for character in idempotency_key):
        raise InvalidRequest("Idempotency-Key: 1 to 255 printable ASCII characters.")
    return idempotency_key


def preferred_wait(prefer: Annotated[str | None, Header(max_length=255)] = None) -> int | None:
    """Seconds of `Prefer: wait=N`; an unusable preference is ignored, as RFC 7240 says."""
    for preference in (prefer or "").split(","):
        name, _, value = preference.partition("=")
        if name.strip().lower() == "wait" and value.strip().isdecimal() and 1 <= int(value) <= LONGEST_WAIT:
            return int(value)
    return None


Platform = Annotated[Services, Depends(services)]
Caller = Annotated[Principal, Depends(caller)]
SignedIn = Annotated[Principal, Depends(signed_in)]
Owner = Annotated[Principal, Depends(owner)]
Key = Annotated[str | None, Depends(idempotency_key)]
Wait = Annotated[int | None, Depends(preferred_wait)]
Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(min_length=1, max_length=500)]
