"""Contract of Users: what an owner may decide, and what never may come of it."""

import asyncio

import pytest

from domain.access import UserChange
from domain.accounts import Account, Principal, Role
from domain.errors import Conflict, NotFound
from domain.names import new_id
from tests.contract.records import Records


async def test_users_are_the_tenants_accounts_newest_first(
    records: Records, account: Account, me: Principal, elsewhere: Principal
) -> None:
    member = await records.colleague(me)

    page = await records.users.users(me, limit=10, cursor=None)

    assert page.items == [member, account]


async def test_an_account_of_the_tenant_is_found_and_a_foreign_or_unknown_one_is_absent(
    records: Records, account: Account, me: Principal, elsewhere: Principal
) -> None:
    member = await records.colleague(me)

    found = [await records.users.user(me, each.account_id) for each in (account, member)]

    assert found == [account, member]
    for absent in (elsewhere.account, new_id(), ""):
        with pytest.raises(NotFound):
            await records.users.user(me, absent)


async def test_a_change_is_seen_and_what_it_leaves_out_stays(records: Records, me: Principal) -> None:
    member = await records.colleague(me)
    await records.users.change(me, me.account, UserChange(token_limit=40_000))

    changed = await records.users.change(me, member.account_id, UserChange(token_limit=60_000))

    assert (changed.token_limit, changed.is_active, changed.role) == (60_000, True, Role.MEMBER)
    assert await records.accounts.account(member.principal) == changed


@pytest.mark.parametrize(
    ("change", "ended"),
    [
        (UserChange(is_active=False), 1),
        (UserChange(role=Role.OWNER), 1),
        (UserChange(is_active=False, role=Role.OWNER), 1),
        (UserChange(token_limit=0), 0),
        (UserChange(is_active=True, role=Role.MEMBER), 0),
        (UserChange(), 0),
    ],
)
async def test_deactivation_and_another_role_end_every_login(
    records: Records, me: Principal, change: UserChange, ended: int
) -> None:
    member = await records.colleague(me)

    changed = await records.users.change(me, member.account_id, change)

    assert changed.token_epoch == member.token_epoch + ended


async def test_an_account_of_another_tenant_is_absent(records: Records, me: Principal, elsewhere: Principal) -> None:
    with pytest.raises(NotFound):
        await records.users.change(me, elsewhere.account, UserChange(is_active=False))


@pytest.mark.parametrize("change", [UserChange(is_active=False), UserChange(role=Role.MEMBER)])
async def test_the_last_active_owner_stays(records: Records, me: Principal, change: UserChange) -> None:
    await records.colleague(me)
    gone = await records.colleague(me, Role.OWNER)
    await records.users.change(me, gone.account_id, UserChange(is_active=False))

    with pytest.raises(Conflict):
        await records.users.change(me, me.account, change)

    assert (await records.accounts.account(me)).is_active


async def test_of_two_owners_who_remove_each_other_one_stays(records: Records, me: Principal) -> None:
    other = (await records.colleague(me, Role.OWNER)).principal
    off = UserChange(is_active=False)

    results = await asyncio.gather(
        records.users.change(me, other.account, off),
        records.users.change(other, me.account, off),
        return_exceptions=True,
    )

    assert len([found for found in results if isinstance(found, Conflict)]) == 1


async def test_limits_together_never_exceed_the_budget(records: Records) -> None:
    owner = await records.newcomer(token_limit=1000)
    me = owner.principal
    members = [await records.colleague(me) for _ in range(2)]
    await records.users.change(me, me.account, UserChange(token_limit=400))

    results = await asyncio.gather(
        *(records.users.change(me, member.account_id, UserChange(token_limit=400)) for member in members),
        return_exceptions=True,
    )

    assert sorted(isinstance(found, Conflict) for found in results) == [False, True]
    users = (await records.users.users(me, limit=10, cursor=None)).items
    assert sum(user.token_limit for user in users) == 800


async def test_a_refused_change_changes_nothing(records: Records, me: Principal) -> None:
    member = await records.colleague(me)

    with pytest.raises(Conflict):
        await records.users.change(me, member.account_id, UserChange(is_active=False, token_limit=1))

    assert await records.accounts.account(member.principal) == member
