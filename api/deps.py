"""What a route may ask for. The signature is the policy: a route with a Caller needs a valid token."""

from typing import Annotated

from fastapi import Depends, Header, Query, Request

from domain.accounts import Principal
from domain.errors import InvalidRequest, Unauthenticated
from infra.services import Services

LONGEST_WAIT = 60


def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


def caller(request: Request) -> Principal:
    """Identity comes from the bearer token and nowhere else."""
    credentials = request.headers.getlist("authorization")
    if len(credentials) != 1:
        raise Unauthenticated
    scheme, _, token = credentials[0].partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    return services(request).tokens.verify(token.strip())


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
Key = Annotated[str | None, Depends(idempotency_key)]
Wait = Annotated[int | None, Depends(preferred_wait)]
Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(min_length=1, max_length=500)]
