"""Register, log in and out, change the password, who am I."""

from collections.abc import Sequence

import structlog
from fastapi.exceptions import RequestValidationError

from api import views
from api.deps import Address, Caller, CurrentLogin, Hashers, Platform, SignedIn
from api.routing import Router
from api.schemas.accounts import Account, PasswordChange, Refresh, Registration, TokenPair
from api.schemas.accounts import Login as LoginBody
from domain.accounts import Credentials, Login, Newcomer, Verdict
from domain.errors import InvalidCredentials, NotFound, RedisUnavailable, RegistrationClosed, TokenRevoked
from domain.names import new_id
from domain.passwords import weakness
from infra.services import Services

router = Router(prefix="/api/v1/auth", tags=["accounts"])

_log = structlog.get_logger()


@router.post("/register", status_code=201)
async def register(_: Hashers, body: Registration, platform: Platform) -> Account:
    """A new tenant and its owner; with an invite, an account in the tenant that gave it."""
    mode = platform.settings.registration
    if mode == "closed" or (mode == "invite" and body.invite is None):
        raise RegistrationClosed
    _require_strong(platform, body.password, field="password", names=(body.username, body.email))
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
async def login(_: Hashers, body: LoginBody, platform: Platform, address: Address) -> TokenPair:
    """The same answer, after the same time, for an unknown name, a wrong password and a disabled account."""
    found = await _verified(platform, body.username, body.password, address)
    principal = found.account.principal
    if platform.passwords.outdated(found.password_hash):
        await platform.accounts.rehash(principal, found.password_hash, await platform.passwords.hash(body.password))
    begun = Login(principal, new_id(), found.account.token_epoch)
    return _pair(platform, begun, await platform.sessions.begin(begun))


@router.post("/refresh")
async def refresh(body: Refresh, platform: Platform) -> TokenPair:
    """A new pair; the old refresh token dies. Shown again too late, it ends the log-in (see the port Sessions)."""
    principal, family = platform.sessions.whose(body.refresh_token)
    try:
        state = await platform.accounts.login_state(principal, family)  # first: nothing is lost if it cannot be read
    except NotFound:
        raise TokenRevoked from None
    refreshed = await platform.sessions.refresh(body.refresh_token)
    if refreshed.verdict is Verdict.REUSED:
        _log.warning("auth_refresh_reused", tenant=principal.tenant, account=principal.account, family=family)
        await platform.accounts.end(refreshed.login)
        platform.login_states.forget(principal)
    if refreshed.verdict is not Verdict.ROTATED:
        raise TokenRevoked
    current = Login(state.require(refreshed.login), family, refreshed.login.epoch)
    return _pair(platform, current, refreshed.token)


@router.post("/logout", status_code=204)
async def logout(current: CurrentLogin, platform: Platform) -> None:
    """The log-in that the token belongs to; others go on."""
    await platform.accounts.end(current)
    platform.login_states.forget(current.principal)
    try:
        await platform.sessions.end(current)
    except RedisUnavailable:
        _log.info("auth_session_left_to_expire")  # the database refuses it from now on
    _log.info("auth_logged_out", account=current.principal.account)


@router.post("/logout-all", status_code=204)
async def logout_all(principal: SignedIn, platform: Platform) -> None:
    await platform.accounts.end_all(principal)
    platform.login_states.forget(principal)
    _log.info("auth_logged_out_everywhere", account=principal.account)


@router.post("/password", status_code=204)
async def change_password(
    current: CurrentLogin, _: Hashers, body: PasswordChange, platform: Platform, address: Address
) -> None:
    """Every other log-in of the account ends."""
    account = await platform.accounts.account(current.principal)
    names = (account.username, account.email)
    _require_strong(platform, body.new_password, field="new_password", names=names)
    found = await _verified(platform, account.username, body.current_password, address)
    new_hash = await platform.passwords.hash(body.new_password)
    await platform.accounts.change_password(current, found.password_hash, new_hash)
    platform.login_states.forget(current.principal)
    _log.info("auth_password_changed", account=current.principal.account)


@router.get("/me")
async def me(principal: Caller, platform: Platform) -> Account:
    return views.account(await platform.accounts.account(principal))


async def _verified(platform: Services, username: str, password: str, address: str) -> Credentials:
    """Raises InvalidCredentials, LoginThrottled."""
    async with platform.throttle.attempt(username, address):
        found = await platform.accounts.credentials(username)
        right = await platform.passwords.verify(found.password_hash if found else None, password)
        if not right or found is None or not found.account.is_active:
            _log.info("auth_password_refused", account=found.account.account_id if found else None)
            raise InvalidCredentials
        return found


def _require_strong(platform: Services, password: str, *, field: str, names: Sequence[str]) -> None:
    shortest = platform.settings.password_length
    reason = weakness(password, names=names, common=platform.passwords.common, shortest=shortest)
    if reason is not None:
        raise RequestValidationError([{"loc": ("body", field), "msg": reason, "type": "weak_password"}])


def _pair(platform: Services, current: Login, refresh_token: str) -> TokenPair:
    access, lifetime = platform.tokens.issue(current)
    return TokenPair(access_token=access, refresh_token=refresh_token, expires_in=lifetime)
