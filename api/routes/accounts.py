"""Register, log in, who am I."""

from datetime import timedelta

from fastapi import APIRouter

from api import views
from api.deps import Caller, Platform
from api.schemas.accounts import Account, Login, Registration, TokenPair
from domain.accounts import Newcomer
from domain.errors import AccountDisabled, InvalidCredentials, RegistrationClosed

router = APIRouter(prefix="/api/v1/auth", tags=["accounts"])


@router.post("/register", status_code=201)
async def register(body: Registration, platform: Platform) -> Account:
    """A new tenant and its owner; with an invite, an account in the tenant that gave it."""
    mode = platform.settings.registration
    if mode == "closed" or (mode == "invite" and body.invite is None):
        raise RegistrationClosed
    newcomer = Newcomer(
        username=body.username,
        email=body.email,
        password_hash=await platform.passwords.hash(body.password),
        token_limit=platform.settings.token_limit,
    )
    if body.invite is None:
        return views.account(await platform.accounts.register(newcomer))
    return views.account(await platform.accounts.join(newcomer, body.invite))


@router.post("/login")
async def login(body: Login, platform: Platform) -> TokenPair:
    """The same answer, after the same time, for an unknown name and a wrong password."""
    found = await platform.accounts.credentials(body.username)
    if not await platform.passwords.verify(found.password_hash if found else None, body.password) or found is None:
        raise InvalidCredentials
    if not found.account.is_active:
        raise AccountDisabled
    access, lifetime = platform.tokens.issue(found.account)
    refresh, refresh_hash = platform.tokens.refresh_token()
    kept = timedelta(days=platform.settings.refresh_token_days)
    await platform.sessions.remember(found.account.principal, refresh_hash, kept)
    return TokenPair(access_token=access, refresh_token=refresh, expires_in=lifetime)


@router.get("/me")
async def me(principal: Caller, platform: Platform) -> Account:
    return views.account(await platform.accounts.account(principal))
