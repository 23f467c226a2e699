"""API keys of the caller's account. An API key itself may not manage them: see `api.deps.signed_in`."""

from dataclasses import asdict

from api.deps import Cursor, Limit, Platform, SignedIn
from api.routing import Router
from api.schemas.body import Id, Page
from api.schemas.keys import ApiKey, NewApiKey, NewKey

router = Router(prefix="/api/v1/auth/keys", tags=["accounts"])


@router.post("", status_code=201)
async def create(body: NewKey, principal: SignedIn, platform: Platform) -> NewApiKey:
    """`key` is told this once."""
    key, secret = await platform.keys.create(principal, body.name, body.expires_at)
    return NewApiKey(key=secret, **asdict(key))


@router.get("")
async def keys(principal: SignedIn, platform: Platform, limit: Limit = 50, cursor: Cursor = None) -> Page[ApiKey]:
    found = await platform.keys.keys(principal, limit=limit, cursor=cursor)
    return Page(items=[ApiKey(**asdict(key)) for key in found.items], next_cursor=found.next_cursor)


@router.delete("/{key_id}", status_code=204)
async def delete(key_id: Id, principal: SignedIn, platform: Platform) -> None:
    """From now on the key is refused."""
    await platform.keys.delete(principal, key_id)
