"""Refresh tokens in Redis: one hash per family (a log-in on a device); the rules are in sessions.lua.

A token is `mrt_{tenant}.{account}.{family}.{secret}`. It names its family itself, so that the key is found under its
tenant and there is no index over all tenants; the ids prove nothing, the secret of 256 bits does. Redis holds its
SHA-256. A successor's secret is made from the token that was shown and a random nonce that is kept beside the hash:
whoever shows the token again in time gets the same successor, and whoever reads Redis cannot make one.
"""

import base64
import hashlib
import hmac
import re
import secrets
from datetime import timedelta
from importlib.resources import files

from redis.asyncio import Redis

from domain.accounts import Login, Principal, Refreshed, Verdict
from domain.errors import Unauthenticated
from infra.redis import deadline

PREFIX = "mrt_"
TOKEN = re.compile(r"mrt_([0-9a-f]{32})\.([0-9a-f]{32})\.([0-9a-f]{32})\.[A-Za-z0-9_-]{43}")
LONGEST_LIFE = timedelta(days=30)  # of a family, however often it is refreshed


class RedisSessions:
    """Port Sessions. `idle` is how long a family lives without being refreshed."""

    def __init__(self, redis: Redis, idle: timedelta = timedelta(days=14)) -> None:
        self._redis = redis
        self._script = redis.register_script(files("infra").joinpath("sessions.lua").read_text(encoding="utf-8"))
        self._idle = int(idle.total_seconds())

    async def begin(self, login: Login) -> str:
        token = _token(login.principal, login.family, secrets.token_bytes(32))
        async with deadline("session_not_kept"):
            await self._script(
                keys=[_key(login.principal, login.family)],
                args=["begin", _digest(token), login.epoch, self._idle, int(LONGEST_LIFE.total_seconds())],
            )
        return token

    def whose(self, token: str) -> tuple[Principal, str]:
        found = TOKEN.fullmatch(token)
        if found is None:
            raise Unauthenticated("Send the refresh token that came with the access token, or log in again.")
        tenant, account, family = found.groups()
        return Principal(tenant, account), family

    async def refresh(self, token: str) -> Refreshed:
        principal, family = self.whose(token)
        nonce = secrets.token_hex(32)
        successor = _successor(token, nonce)
        async with deadline("session_not_refreshed"):
            found, kept_nonce, epoch = await self._script(
                keys=[_key(principal, family)],
                args=["refresh", _digest(token), self._idle, _digest(successor), nonce],
            )
        login = Login(principal, family, int(epoch))
        verdict = Verdict(found)
        return Refreshed(verdict, login, _successor(token, kept_nonce) if verdict is Verdict.ROTATED else "")

    async def end(self, login: Login) -> None:
        async with deadline("session_not_ended"):
            await self._redis.delete(_key(login.principal, login.family))

    async def ping(self) -> None:
        async with deadline("redis_silent"):
            await self._redis.ping()


def _key(principal: Principal, family: str) -> str:
    return f"{principal.tenant}:session:{principal.account}:{family}"


def _token(principal: Principal, family: str, secret: bytes) -> str:
    encoded = base64.urlsafe_b64encode(secret).decode().rstrip("=")
    return f"{PREFIX}{principal.tenant}.{principal.account}.{family}.{encoded}"


def _successor(token: str, nonce: str) -> str:
    names, _, _ = token.rpartition(".")
    secret = hmac.digest(token.encode(), nonce.encode(), "sha256")
    return f"{names}.{base64.urlsafe_b64encode(secret).decode().rstrip('=')}"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
