"""Every state a credential can be in that must not let anybody in, with the answer it gets."""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from domain.accounts import Login
from domain.names import new_id
from infra.security import ALGORITHM, AUDIENCE, ISSUER, TYPE

UNAUTHENTICATED = (401, "unauthenticated")


@dataclass(frozen=True, slots=True)
class Refused:
    """`header`: the whole Authorization header, None for none at all."""

    state: str
    header: str | None
    answer: tuple[int, str] = UNAUTHENTICATED


@dataclass(frozen=True, slots=True)
class Forger:
    """Knows the secret, so that each token is wrong in one respect only."""

    secret: str
    login: Login

    @property
    def kid(self) -> str:
        return hashlib.blake2b(self.secret.encode(), digest_size=4, person=b"access-kid").hexdigest()

    @property
    def key(self) -> bytes:
        return hashlib.blake2b(self.secret.encode(), digest_size=32, person=b"access-token").digest()

    def claims(self, **changed: Any) -> dict[str, Any]:
        now = datetime.now(UTC)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": self.login.principal.account,
            "tenant": self.login.principal.tenant,
            "role": "owner",
            "epoch": self.login.epoch,
            "family": self.login.family,
            "jti": new_id(),
            "iat": now,
            "nbf": now,
            "exp": now + timedelta(minutes=10),
        }
        return {name: value for name, value in {**claims, **changed}.items() if value is not None}

    def token(
        self, *, key: Any = None, algorithm: str = ALGORITHM, header: dict[str, Any] | None = None, **c: Any
    ) -> str:
        head = {"typ": TYPE, "kid": self.kid, **(header or {})}
        return jwt.encode(self.claims(**c), self.key if key is None else key, algorithm, headers=head)

    def unsigned(self) -> str:
        head = {"alg": "none", "typ": TYPE, "kid": self.kid}
        claims = self.claims()
        claims |= {name: int(claims[name].timestamp()) for name in ("iat", "nbf", "exp")}
        return f"{_part(head)}.{_part(claims)}."


def _part(value: dict[str, Any]) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def forged(forger: Forger) -> Iterator[Refused]:
    """Wrong in themselves, whoever is named in them."""
    past, future = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)
    good = forger.token()
    tokens = {
        "not yet valid": forger.token(nbf=future),
        "wrong key": forger.token(key=b"x" * 32),
        "unknown key id": forger.token(header={"kid": "00000000"}),
        "no algorithm": forger.unsigned(),
        "another algorithm": forger.token(algorithm="HS512", key=forger.key * 2),
        "unknown critical header": forger.token(header={"crit": ["unheard-of"], "unheard-of": 1}),
        "wrong issuer": forger.token(iss="somebody"),
        "wrong audience": forger.token(aud="somewhere"),
        "another type of token": forger.token(header={"typ": "refresh+jwt"}),
        "no expiry": forger.token(exp=None),
        "an unknown role": forger.token(role="operator"),
        "signature cut": good[:-4],
        "an account that is not there": forger.token(sub=new_id()),
        "a tenant it is not of": forger.token(tenant=new_id()),
    }
    revoked = {"an account that is not there", "a tenant it is not of"}
    yield Refused("none", None)
    yield Refused("empty", "")
    yield Refused("malformed", "Bearer a.b.c")
    yield Refused("another scheme", f"Basic {good}")
    yield Refused("expired", f"Bearer {forger.token(exp=past, iat=past, nbf=past)}", (401, "token_expired"))
    yield Refused("an earlier epoch", f"Bearer {forger.token(epoch=forger.login.epoch - 1)}", (401, "token_revoked"))
    for state, token in tokens.items():
        yield Refused(state, f"Bearer {token}", (401, "token_revoked") if state in revoked else UNAUTHENTICATED)
    yield Refused("an API key nobody made", "Bearer mk_" + "a" * 43)
    yield Refused("a malformed API key", "Bearer mk_short")
