"""The owner's side of a tenant: who is in it, with which rights and limits, and who may join."""

from api import views
from api.deps import Cursor, Limit, Owner, Platform
from api.routing import Router
from api.schemas.accounts import Account
from api.schemas.body import Id, Page
from api.schemas.users import Invite, InviteFor, UserPatch
from domain.access import UserChange
from domain.errors import RegistrationClosed

router = Router(prefix="/api/v1/auth", tags=["accounts"])


@router.post("/invites", status_code=201)
async def invite(body: InviteFor, principal: Owner, platform: Platform) -> Invite:
    """Good for one registration within seven days; told this once."""
    if platform.settings.registration == "closed":
        raise RegistrationClosed
    secret, expires_at = await platform.invites.create(principal, body.role)
    return Invite(invite=secret, expires_at=expires_at)


@router.get("/users")
async def users(principal: Owner, platform: Platform, limit: Limit = 50, cursor: Cursor = None) -> Page[Account]:
    found = await platform.users.users(principal, limit=limit, cursor=cursor)
    return Page(items=[views.account(row) for row in found.items], next_cursor=found.next_cursor)


@router.patch("/users/{user_id}")
async def change(user_id: Id, body: UserPatch, principal: Owner, platform: Platform) -> Account:
    """All of it or nothing."""
    wanted = UserChange(is_active=body.is_active, token_limit=body.token_limit, role=body.role)
    changed = await platform.users.change(principal, user_id, wanted)
    platform.login_states.forget(changed.principal)
    return views.account(changed)
