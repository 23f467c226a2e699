"""Hashers with a bounded queue, and access tokens of one kind under two keys."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from argon2 import PasswordHasher
from pydantic import ValidationError

from domain.accounts import Login, Principal, Role
from domain.errors import LoginThrottled, TokenExpired, Unauthenticated
from domain.names import new_id
from infra.security import ALGORITHM, CLAIMS, Argon2Passwords, JwtTokens, _key, _kid
from infra.settings import DEV_KEY, Environment, Settings

SECRET, OTHER = "9f" * 8 + "3c71e05ab2d84" * 2, "a7" * 8 + "0b6d1e94c3f52" * 2
LOGIN = Login(Principal(new_id(), new_id(), Role.OWNER), new_id(), 7)
QUARTER = timedelta(minutes=15)
CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


def claims(**changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    good = jwt.decode(JwtTokens(SECRET, QUARTER).issue(LOGIN)[0], options={"verify_signature": False})
    return {**good, "iat": now, "nbf": now, "exp": now + QUARTER, **changes}


def signed(body: dict[str, Any], **header: Any) -> str:
    return jwt.encode(body, _key(SECRET), ALGORITHM, headers={"typ": "access+jwt", "kid": _kid(SECRET), **header})


def test_a_token_comes_back_as_the_login_it_was_issued_to() -> None:
    tokens = JwtTokens(SECRET, QUARTER)

    token, seconds = tokens.issue(LOGIN)

    assert tokens.verify(token) == LOGIN
    assert seconds == 900


def test_a_token_signed_with_the_previous_secret_is_good_and_new_ones_are_not_signed_with_it() -> None:
    before, after = JwtTokens(SECRET, QUARTER), JwtTokens(OTHER, QUARTER, previous=SECRET)

    assert after.verify(before.issue(LOGIN)[0]) == LOGIN
    with pytest.raises(Unauthenticated):
        before.verify(after.issue(LOGIN)[0])


def test_a_token_of_the_last_but_one_secret_is_not() -> None:
    with pytest.raises(Unauthenticated):
        JwtTokens(OTHER, QUARTER).verify(JwtTokens(SECRET, QUARTER).issue(LOGIN)[0])


def test_an_empty_previous_secret_is_no_key() -> None:
    forged = jwt.encode(claims(), _key(""), ALGORITHM, headers={"typ": "access+jwt", "kid": _kid("")})

    with pytest.raises(Unauthenticated):
        JwtTokens(SECRET, QUARTER, previous="").verify(forged)


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_token_that_lacks_a_claim_is_refused(claim: str) -> None:
    body = claims()
    del body[claim]

    with pytest.raises(Unauthenticated):
        JwtTokens(SECRET, QUARTER).verify(signed(body))


@pytest.mark.parametrize("header", [{"typ": "JWT"}, {"typ": "refresh+jwt"}, {"kid": "1"}, {"kid": ""}])
def test_a_token_of_another_kind_or_key_is_refused(header: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        JwtTokens(SECRET, QUARTER).verify(signed(claims(), **header))


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "somebody"},
        {"aud": "elsewhere"},
        {"role": "root"},
        {"epoch": "x"},
        {"epoch": None},
        {"sub": 7},
        {"nbf": datetime.now(UTC) + timedelta(hours=3)},
        {"iat": datetime.now(UTC) + timedelta(hours=3)},
    ],
)
def test_a_claim_that_is_wrong_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        JwtTokens(SECRET, QUARTER).verify(signed(claims(**change)))


def test_a_token_without_signature_is_refused() -> None:
    header = {"typ": "access+jwt", "kid": _kid(SECRET)}

    with pytest.raises(Unauthenticated):
        JwtTokens(SECRET, QUARTER).verify(jwt.encode(claims(), "", "none", headers=header))


def test_clocks_may_differ_by_ten_seconds() -> None:
    tokens = JwtTokens(SECRET, QUARTER)

    assert tokens.verify(signed(claims(exp=datetime.now(UTC) - timedelta(seconds=5)))) == LOGIN
    with pytest.raises(TokenExpired):
        tokens.verify(signed(claims(exp=datetime.now(UTC) - timedelta(seconds=30))))


def test_a_token_over_4_kb_is_refused_unread() -> None:
    with pytest.raises(Unauthenticated):
        JwtTokens(SECRET, QUARTER).verify(signed(claims(more="x" * 4096)))


async def test_a_password_is_one_however_it_is_composed() -> None:
    passwords = Argon2Passwords(hasher=CHEAP)

    kept = await passwords.hash("caf\u00e9 at the harbour")

    assert await passwords.verify(kept, "cafe\u0301 at the harbour")
    assert not await passwords.verify(kept, "cafe at the harbour")
    assert not await passwords.verify(None, "cafe at the harbour")
    passwords.close()


async def test_no_end_of_a_password_is_cut_off() -> None:
    passwords = Argon2Passwords(hasher=CHEAP)
    kept = await passwords.hash("가" * 128)

    assert not await passwords.verify(kept, "가" * 127 + "나")
    passwords.close()


def test_a_hash_of_other_parameters_is_outdated() -> None:
    passwords = Argon2Passwords(hashers=1)

    assert passwords.outdated(CHEAP.hash("x"))
    passwords.close()


async def test_who_finds_no_place_in_the_queue_is_sent_away_at_once() -> None:
    passwords = Argon2Passwords(hashers=2, places=10)
    kept = await passwords.hash("correct horse")

    async def attempt() -> float:
        began = time.perf_counter()
        try:
            with passwords.place():
                await passwords.verify(kept, "guess")
        except LoginThrottled:
            return time.perf_counter() - began
        return 0.0

    waited = [seconds for seconds in await asyncio.gather(*(attempt() for _ in range(500))) if seconds]

    assert len(waited) == 490
    assert max(waited) < 0.1
    with passwords.place():  # and the places are free again
        pass
    passwords.close()


WEAK = [
    "",
    "short",
    DEV_KEY,
    "a" * 40,
    "abcabc" * 8,
    "change-me-please-" * 3,
    "my-very-secret-key-for-production-12345",
]


@pytest.mark.parametrize("key", WEAK)
@pytest.mark.parametrize("name", ["secret_key", "secret_key_previous"])
def test_production_does_not_start_with_a_weak_key_nor_shows_it(name: str, key: str) -> None:
    if name == "secret_key_previous" and not key:
        return
    keys = {"secret_key": SECRET, name: key}

    with pytest.raises(ValidationError) as refused:
        Settings(_env_file=None, env=Environment.PRODUCTION, **keys)

    assert f"MOORAGE_{name.upper()}" in str(refused.value)
    assert not key or key not in str(refused.value)


def test_production_starts_with_random_keys() -> None:
    settings = Settings(_env_file=None, env=Environment.PRODUCTION, secret_key=SECRET, secret_key_previous=OTHER)

    assert SECRET not in repr(settings)


def test_passwords_cannot_be_allowed_below_eight_characters() -> None:
    with pytest.raises(ValidationError):
        Settings(_env_file=None, password_length=7)
