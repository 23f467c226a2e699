"""Register, log in, who am I."""

from dataclasses import asdict
from datetime import timedelta

from api.deps import Caller, Platform
from api.routing import Router
from api.schemas.accounts import Account, Login, Registration, TokenPair
from domain import accounts
from domain.accounts import Newcomer
from domain.errors import AccountDisabled, InvalidCredentials, RegistrationClosed

router = Router(prefix="/api/v1/auth", tags=["accounts"])


@router.post("/register", status_code=201)
async def register(body: Registration, platform: Platform) -> Account:
    """A new tenant, and its owner."""
    if platform.settings.registration != "open":
        raise RegistrationClosed
    newcomer = Newcomer(
        username=body.username,
        email=body.email,
        password_hash=await platform.passwords.hash(body.password),
        token_limit=platform.settings.token_limit,
    )
    return _view(await platform.accounts.register(newcomer))


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
    return _view(await platform.accounts.account(principal))


def _view(account: accounts.Account) -> Account:
    fields = asdict(account)
    return Account(user_id=fields.pop("account_id"), **fields)
