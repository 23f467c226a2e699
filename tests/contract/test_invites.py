"""Contract of Invites and of joining by one: once, for a week, for as long as the inviter may invite."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from domain.access import MOST_INVITES, UserChange
from domain.accounts import Account, Principal, Role
from domain.errors import Conflict, InvalidInvite, UsernameTaken
from infra.sql.database import Database
from tests.contract.records import Records, a_newcomer
from tests.contract.test_api_keys import Clock

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records(database: Database, clock: Callable[[], datetime]) -> Records:
    return Records.over(database, clock)


@pytest.mark.parametrize("role", Role)
async def test_an_invite_makes_an_account_of_its_role_in_its_tenant(
    records: Records, me: Principal, role: Role
) -> None:
    invite, expires_at = await records.invites.create(me, role)

    account = await records.accounts.join(a_newcomer(), invite)

    assert invite.startswith("mi_")
    assert expires_at == NOON + timedelta(days=7)
    assert (account.tenant_id, account.role) == (me.tenant, role)
    assert await records.accounts.account(account.principal) == account


async def test_an_invite_is_good_for_one_registration(records: Records, me: Principal) -> None:
    invite, _ = await records.invites.create(me, Role.MEMBER)

    results = await asyncio.gather(
        *(records.accounts.join(a_newcomer(), invite) for _ in range(8)), return_exceptions=True
    )

    assert len([found for found in results if isinstance(found, Account)]) == 1
    assert len([found for found in results if isinstance(found, InvalidInvite)]) == 7
    assert len((await records.users.users(me, limit=100, cursor=None)).items) == 2


async def test_an_invite_survives_a_name_that_is_taken(records: Records, account: Account, me: Principal) -> None:
    invite, _ = await records.invites.create(me, Role.MEMBER)
    with pytest.raises(UsernameTaken):
        await records.accounts.join(replace(a_newcomer(), username=account.username), invite)

    assert await records.accounts.join(a_newcomer(), invite)


async def test_an_invite_ends_after_a_week(records: Records, me: Principal, clock: Clock) -> None:
    invite, _ = await records.invites.create(me, Role.MEMBER)
    clock.now = NOON + timedelta(days=7)

    with pytest.raises(InvalidInvite):
        await records.accounts.join(a_newcomer(), invite)


@pytest.mark.parametrize("change", [UserChange(is_active=False), UserChange(role=Role.MEMBER)])
async def test_an_invite_ends_with_the_rights_of_who_gave_it(
    records: Records, me: Principal, change: UserChange
) -> None:
    second = await records.colleague(me, Role.OWNER)
    invite, _ = await records.invites.create(second.principal, Role.OWNER)

    await records.users.change(me, second.account_id, change)

    with pytest.raises(InvalidInvite):
        await records.accounts.join(a_newcomer(), invite)


@pytest.mark.parametrize("invite", ["", "mi_", "mi_" + "A" * 43, "mk_" + "A" * 43, "mi_\ud800"])
async def test_what_is_no_invite_is_refused(records: Records, me: Principal, invite: str) -> None:
    await records.invites.create(me, Role.MEMBER)

    with pytest.raises(InvalidInvite):
        await records.accounts.join(a_newcomer(), invite)


async def test_a_key_is_no_invite(records: Records, me: Principal) -> None:
    _, secret = await records.keys.create(me, "laptop", None)

    with pytest.raises(InvalidInvite):
        await records.accounts.join(a_newcomer(), secret)


async def test_who_joins_gets_what_is_left_of_the_budget(records: Records) -> None:
    owner = await records.newcomer(token_limit=1000)
    await records.users.change(owner.principal, owner.account_id, UserChange(token_limit=850))

    limits = [(await records.colleague(owner.principal, token_limit=100)).token_limit for _ in range(3)]

    assert limits == [100, 50, 0]


async def test_a_tenant_has_a_bounded_number_of_open_invites(records: Records, me: Principal, clock: Clock) -> None:
    for _ in range(MOST_INVITES):
        await records.invites.create(me, Role.MEMBER)
    with pytest.raises(Conflict):
        await records.invites.create(me, Role.MEMBER)
    clock.now = NOON + timedelta(days=8)

    assert await records.invites.create(me, Role.MEMBER)
