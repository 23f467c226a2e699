"""Who is asking: the one place that turns a credential into a principal, whatever its kind."""

from collections.abc import Awaitable, Callable
from functools import partial

from domain.accounts import Login, Principal
from domain.errors import NotFound, TokenRevoked
from infra import opaque
from infra.services import Services


async def authenticate(platform: Services, credential: str) -> Principal:
    """The account as the database knows it now, not as it was when the credential was issued.

    So it ends within a second of whatever ends it: a log-out, a changed password, a deactivation. Each kind of
    credential has its prefix, and its branch in `again`; without one it is an access token.
    Raises Unauthenticated, TokenExpired, TokenRevoked, AccountDisabled.
    """
    return await again(platform, credential)()


def again(platform: Services, credential: str) -> Callable[[], Awaitable[Principal]]:
    """The look itself, for a stream that outlasts its request and takes it again and again. A token that is good now
    may expire meanwhile."""
    if credential.startswith(opaque.KEY):
        return partial(platform.keys.verify, credential)
    return partial(_principal, platform, platform.tokens.verify(credential))


async def logged_in(platform: Services, token: str) -> Login:
    """The log-in an access token belongs to: what can be ended by itself."""
    return await _standing(platform, platform.tokens.verify(token))


async def _principal(platform: Services, claimed: Login) -> Principal:
    return (await _standing(platform, claimed)).principal


async def _standing(platform: Services, claimed: Login) -> Login:
    try:
        state = await platform.login_states.login_state(claimed.principal, claimed.family)
    except NotFound:
        raise TokenRevoked from None
    return Login(state.require(claimed), claimed.family, claimed.epoch)
