"""What a route may ask for. The signature is the policy: a route with a Caller needs a valid token."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Header, Query, Request

from api.admission import Admission
from api.authenticate import authenticate, logged_in
from domain.accounts import Login, Principal, Role
from domain.errors import Forbidden, InvalidRequest, Unauthenticated
from infra import opaque
from infra.services import Services

LONGEST_WAIT = 60


def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


def admission(request: Request) -> Admission:
    found: Admission = request.app.state.admission
    return replace(found, gone=request.is_disconnected)


def bearer(request: Request) -> str:
    """Identity comes from the bearer token and nowhere else."""
    credentials = request.headers.getlist("authorization")
    if len(credentials) != 1:
        raise Unauthenticated
    scheme, _, token = credentials[0].partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    return token.strip()


async def caller(request: Request) -> Principal:
    return await authenticate(services(request), bearer(request))


async def signed_in(request: Request, principal: Annotated[Principal, Depends(caller)]) -> Principal:
    """By a login: an API key that leaked must not give access to anybody else, nor make another key."""
    if bearer(request).startswith(opaque.KEY):
        raise Forbidden("This needs an access token; an API key is not enough. Log in.")
    return principal


async def overseer(principal: Annotated[Principal, Depends(caller)]) -> Principal:
    """An owner, by the role the account has now: `authenticate` takes it from the row. For reading, where nobody is
    given access: an API key will do."""
    if principal.role is not Role.OWNER:
        raise Forbidden("This needs an owner of your tenant.")
    return principal


async def owner(
    _: Annotated[Principal, Depends(signed_in)], principal: Annotated[Principal, Depends(overseer)]
) -> Principal:
    """For routes that give access: an owner's login."""
    return principal


async def login(request: Request, _: Annotated[Principal, Depends(signed_in)]) -> Login:
    """For routes that end log-ins: only an access token belongs to one."""
    return await logged_in(services(request), bearer(request))


async def hashers(request: Request) -> AsyncIterator[None]:
    """A place in the queue for the password hashers, before anything else is asked on the caller's behalf."""
    with services(request).passwords.place():
        yield


def address(request: Request) -> str:
    return request.client.host if request.client else ""


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
Admit = Annotated[Admission, Depends(admission)]
Caller = Annotated[Principal, Depends(caller)]
SignedIn = Annotated[Principal, Depends(signed_in)]
Overseer = Annotated[Principal, Depends(overseer)]
Owner = Annotated[Principal, Depends(owner)]
CurrentLogin = Annotated[Login, Depends(login)]
Hashers = Annotated[None, Depends(hashers)]
Address = Annotated[str, Depends(address)]
Key = Annotated[str | None, Depends(idempotency_key)]
Wait = Annotated[int | None, Depends(preferred_wait)]
Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(min_length=1, max_length=500)]
