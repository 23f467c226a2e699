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
    credential has its prefix, and its branch here; without one it is an access token.
    Raises Unauthenticated, TokenExpired, TokenRevoked, AccountDisabled.
    """
    if credential.startswith(opaque.KEY):
        return await platform.keys.verify(credential)
    return (await logged_in(platform, credential)).principal


def again(platform: Services, credential: str) -> Callable[[], Awaitable[object]]:
    """For a stream that outlasts its request: a look whether who opened it is still let in, raising as `authenticate`
    does. A token that was good then may expire meanwhile."""
    if credential.startswith(opaque.KEY):
        return partial(platform.keys.verify, credential)
    return partial(_standing, platform, platform.tokens.verify(credential))


async def logged_in(platform: Services, token: str) -> Login:
    """The log-in an access token belongs to: what can be ended by itself."""
    return await _standing(platform, platform.tokens.verify(token))


async def _standing(platform: Services, claimed: Login) -> Login:
    try:
        state = await platform.login_states.login_state(claimed.principal, claimed.family)
    except NotFound:
        raise TokenRevoked from None
    return Login(state.require(claimed), claimed.family, claimed.epoch)
