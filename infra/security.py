"""Passwords and tokens: argon2id off the event loop, typed JWTs with one algorithm."""

import asyncio
import hashlib
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from domain.accounts import Account, Principal, Role
from domain.errors import TokenExpired, Unauthenticated
from domain.names import new_id

ISSUER, AUDIENCE, ALGORITHM, TYPE = "moorage", "moorage-api", "HS256", "access+jwt"
LEEWAY = timedelta(seconds=10)
LONGEST_TOKEN = 4096

Result = TypeVar("Result")


class Argon2Passwords:
    """Port Passwords. OWASP's argon2id parameters (19 MiB, t=2, p=1): about 50 ms a hash."""

    def __init__(self, hashers: int = 2) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._pool = ThreadPoolExecutor(hashers, thread_name_prefix="argon2")
        self._nobody = self._hasher.hash(secrets.token_hex())

    async def hash(self, password: str) -> str:
        return await self._run(self._hasher.hash, _normal(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        matches = await self._run(self._matches, password_hash or self._nobody, _normal(password))
        return matches and password_hash is not None

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
    """Port Tokens. Access tokens carry tenant, account, role and the account's epoch."""

    def __init__(self, secret: str, lifetime: timedelta) -> None:
        # a key of its own per kind: a token of one kind cannot be taken for another
        self._key = hashlib.blake2b(secret.encode(), digest_size=32, person=b"access-token").digest()
        self._lifetime = lifetime

    def issue(self, account: Account) -> tuple[str, int]:
        now = datetime.now(UTC)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": account.account_id,
            "tenant": account.tenant_id,
            "role": account.role,
            "epoch": account.token_epoch,
            "jti": new_id(),
            "iat": now,
            "nbf": now,
            "exp": now + self._lifetime,
        }
        token = jwt.encode(claims, self._key, ALGORITHM, headers={"typ": TYPE})
        return token, int(self._lifetime.total_seconds())

    def verify(self, token: str) -> Principal:
        try:
            if len(token) > LONGEST_TOKEN or jwt.get_unverified_header(token).get("typ") != TYPE:
                raise Unauthenticated
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                leeway=LEEWAY,
                options={"require": ["exp", "iat", "nbf", "jti", "iss", "aud", "sub", "tenant", "role", "epoch"]},
            )
            return Principal(str(claims["tenant"]), str(claims["sub"]), Role(claims["role"]))
        except jwt.ExpiredSignatureError as error:
            raise TokenExpired from error
        except (jwt.PyJWTError, ValueError) as error:  # ValueError: a lone surrogate, an unknown role
            raise Unauthenticated from error

    def refresh_token(self) -> tuple[str, str]:
        token = f"mrt_{secrets.token_urlsafe(32)}"
        return token, hashlib.sha256(token.encode()).hexdigest()


def _normal(password: str) -> str:
    return unicodedata.normalize("NFC", password)
