"""Contract of Keys: told once, kept as a hash, good until it expires, is deleted or its account disabled."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from domain.access import MOST_KEYS, ApiKey, UserChange
from domain.accounts import Account, Principal, Role
from domain.errors import AccountDisabled, Conflict, NotFound, TokenExpired, Unauthenticated
from infra.opaque import digest
from infra.sql.database import Database
from infra.sql.tables import api_keys
from tests.contract.records import Records

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records(database: Database, clock: Callable[[], datetime]) -> Records:
    return Records.over(database, clock)


async def the_key(records: Records, me: Principal) -> ApiKey:
    return (await records.keys.keys(me, limit=1, cursor=None)).items[0]


async def test_a_key_is_good_for_its_account(records: Records, account: Account, me: Principal) -> None:
    key, secret = await records.keys.create(me, "laptop", None)

    assert await records.keys.verify(secret) == account.principal
    assert (key.name, key.created_at, key.expires_at, key.last_used_at) == ("laptop", NOON, None, None)


async def test_a_secret_has_256_bits_and_only_its_hash_is_kept(records: Records, me: Principal) -> None:
    secrets = [(await records.keys.create(me, "laptop", None))[1] for _ in range(2)]

    assert all(secret.startswith("mk_") and len(secret) == 3 + 43 for secret in secrets)
    assert len(set(secrets)) == 2
    async with records.database.read() as connection:
        rows = (await connection.execute(select(api_keys))).all()
    assert {row.secret_hash for row in rows} == {digest(secret) for secret in secrets}
    assert not any(secret[3:] in str(row) for row in rows for secret in secrets)


@pytest.mark.parametrize("secret", ["mk_" + "A" * 43, "mk_", "mk_é", "mk_" + "A" * 5000, ""])
async def test_an_unknown_secret_is_refused(records: Records, me: Principal, secret: str) -> None:
    await records.keys.create(me, "laptop", None)

    with pytest.raises(Unauthenticated):
        await records.keys.verify(secret)


async def test_a_key_expires(records: Records, me: Principal, clock: Clock) -> None:
    _, secret = await records.keys.create(me, "laptop", NOON + timedelta(hours=1))
    clock.now = NOON + timedelta(minutes=59)
    await records.keys.verify(secret)
    clock.now = NOON + timedelta(hours=1)

    with pytest.raises(TokenExpired):
        await records.keys.verify(secret)


async def test_a_deleted_key_is_refused_at_once(records: Records, me: Principal) -> None:
    key, secret = await records.keys.create(me, "laptop", None)
    await records.keys.verify(secret)

    await records.keys.delete(me, key.key_id)

    with pytest.raises(Unauthenticated):
        await records.keys.verify(secret)


async def test_a_key_of_a_disabled_account_is_refused_at_once(records: Records, me: Principal) -> None:
    member = await records.colleague(me)
    _, secret = await records.keys.create(member.principal, "laptop", None)

    await records.users.change(me, member.account_id, UserChange(is_active=False))

    with pytest.raises(AccountDisabled):
        await records.keys.verify(secret)


async def test_a_key_has_the_role_that_its_account_has_now(records: Records, me: Principal) -> None:
    member = await records.colleague(me)
    _, secret = await records.keys.create(member.principal, "laptop", None)

    await records.users.change(me, member.account_id, UserChange(role=Role.OWNER))

    assert (await records.keys.verify(secret)).role is Role.OWNER


async def test_the_last_use_is_noted_once_a_minute(records: Records, me: Principal, clock: Clock) -> None:
    _, secret = await records.keys.create(me, "laptop", None)
    seen = []
    for seconds in (0, 59, 60):
        clock.now = NOON + timedelta(seconds=seconds)
        await records.keys.verify(secret)
        seen.append((await the_key(records, me)).last_used_at)

    assert seen == [NOON, NOON, NOON + timedelta(seconds=60)]


async def test_keys_are_listed_newest_first(records: Records, me: Principal, clock: Clock) -> None:
    for minute, name in enumerate(("first", "second", "third")):
        clock.now = NOON + timedelta(minutes=minute)
        await records.keys.create(me, name, None)

    page = await records.keys.keys(me, limit=2, cursor=None)
    rest = await records.keys.keys(me, limit=2, cursor=page.next_cursor)

    assert [key.name for key in [*page.items, *rest.items]] == ["third", "second", "first"]
    assert rest.next_cursor is None


async def test_a_key_is_absent_to_everybody_else(records: Records, me: Principal, elsewhere: Principal) -> None:
    key, secret = await records.keys.create(me, "laptop", None)
    colleague = (await records.colleague(me, Role.OWNER)).principal

    for other in (elsewhere, colleague):
        assert (await records.keys.keys(other, limit=10, cursor=None)).items == []
        with pytest.raises(NotFound):
            await records.keys.delete(other, key.key_id)
    assert await records.keys.verify(secret)


async def test_an_account_has_a_bounded_number_of_keys(records: Records, me: Principal) -> None:
    for _ in range(MOST_KEYS - 1):
        await records.keys.create(me, "laptop", None)

    results = await asyncio.gather(
        *(records.keys.create(me, "one more", None) for _ in range(3)), return_exceptions=True
    )

    assert sorted(isinstance(found, Conflict) for found in results) == [False, True, True]
