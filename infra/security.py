"""Passwords and access tokens: argon2id off the event loop, typed JWTs with one algorithm."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from domain.accounts import Login, Principal, Role
from domain.errors import LoginThrottled, TokenExpired, Unauthenticated
from domain.names import new_id
from domain.passwords import normal

ISSUER, AUDIENCE, ALGORITHM, TYPE = "moorage", "moorage-api", "HS256", "access+jwt"
CLAIMS = ["exp", "iat", "nbf", "jti", "iss", "aud", "sub", "tenant", "role", "epoch", "family"]
LEEWAY = timedelta(seconds=10)
LONGEST_TOKEN = 4096
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)  # OWASP: 19 MiB, about 50 ms
PLACES = 64  # at 2 hashers and 50 ms each the last one waits 1.6 s

Result = TypeVar("Result")


class Argon2Passwords:
    """Port Passwords. A few threads hash, a bounded number of callers waits for them, the rest is sent away."""

    def __init__(self, hashers: int = 2, places: int = PLACES, hasher: PasswordHasher = HASHER) -> None:
        self._hasher = hasher
        self._pool = ThreadPoolExecutor(hashers, thread_name_prefix="argon2")
        self._free = places
        self._nobody = hasher.hash(secrets.token_hex())

    @cached_property
    def common(self) -> Set[str]:
        """Loaded by the first registration: a process that makes no passwords spends no 15 MB on it."""
        from zxcvbn.frequency_lists import FREQUENCY_LISTS

        return frozenset(FREQUENCY_LISTS["passwords"])

    @contextmanager
    def place(self) -> Iterator[None]:
        if not self._free:
            raise LoginThrottled("Too many people log in at this moment; try again.", retry_after=timedelta(seconds=1))
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    async def hash(self, password: str) -> str:
        return await self._run(self._hasher.hash, normal(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        matches = await self._run(self._matches, password_hash or self._nobody, normal(password))
        return matches and password_hash is not None

    def outdated(self, password_hash: str) -> bool:
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        self._pool.shutdown()

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[..., Result], *arguments: str) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)


class JwtTokens:
    """Port Tokens. Signs with the present secret; what the previous one has signed is good until it expires."""

    def __init__(self, secret: str, lifetime: timedelta, previous: str = "") -> None:
        self._kid = _kid(secret)
        self._keys = {_kid(known): _key(known) for known in (previous, secret) if known}
        self._lifetime = lifetime

    def issue(self, login: Login) -> tuple[str, int]:
        now = datetime.now(UTC)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": login.principal.account,
            "tenant": login.principal.tenant,
            "role": login.principal.role,
            "epoch": login.epoch,
            "family": login.family,
            "jti": new_id(),
            "iat": now,
            "nbf": now,
            "exp": now + self._lifetime,
        }
        token = jwt.encode(claims, self._keys[self._kid], ALGORITHM, headers={"typ": TYPE, "kid": self._kid})
        return token, int(self._lifetime.total_seconds())

    def verify(self, token: str) -> Login:
        try:
            claims = self._claims(token)
            principal = Principal(str(claims["tenant"]), str(claims["sub"]), Role(claims["role"]))
            return Login(principal, str(claims["family"]), int(claims["epoch"]))
        except jwt.ExpiredSignatureError as error:
            raise TokenExpired from error
        except (jwt.PyJWTError, ValueError, TypeError) as error:  # ValueError: a lone surrogate, an unknown role
            raise Unauthenticated from error

    def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > LONGEST_TOKEN:
            raise Unauthenticated
        header = jwt.get_unverified_header(token)
        key = self._keys.get(str(header.get("kid")))
        if key is None or header.get("typ") != TYPE:
            raise Unauthenticated
        return jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            audience=AUDIENCE,
            leeway=LEEWAY,
            options={"require": CLAIMS},
        )


def _key(secret: str) -> bytes:
    """A key of its own per kind: a token of one kind cannot be taken for another."""
    return hashlib.blake2b(secret.encode(), digest_size=32, person=b"access-token").digest()


def _kid(secret: str) -> str:
    """Names a key without telling anything about it."""
    return hashlib.blake2b(secret.encode(), digest_size=4, person=b"access-kid").hexdigest()
