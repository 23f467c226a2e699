"""Contract of Tenants: what the operator sees and does, and that nothing of a deleted tenant is left."""

import pytest
from sqlalchemy import select

from domain.access import UserChange
from domain.accounts import Account, Login, Principal, Role
from domain.audit import Event
from domain.errors import NotFound, UsernameTaken
from domain.names import new_id
from infra.sql import tenants as sql
from infra.sql.tables import accounts, metadata
from tests.contract.records import Records, a_call, a_newcomer


async def limits(records: Records, owner: Principal) -> list[int]:
    page = await records.users.users(owner, limit=100, cursor=None)
    return [user.token_limit for user in reversed(page.items)]


async def test_a_tenant_is_listed_with_its_accounts_and_this_months_tokens(records: Records, account: Account) -> None:
    member = await records.colleague(account.principal)
    command = await records.ask(account.principal, billable=True)
    await records.answer(account.principal, command, a_call(command))
    await records.usage.settle(account.principal, command.workflow_id)
    await records.ask(member.principal)

    (tenant,) = await records.tenants.tenants()

    assert (tenant.tenant_id, tenant.token_limit, tenant.used, tenant.reserved) == (account.tenant_id, 100_000, 100, 0)
    assert tenant.accounts == (account, member)


async def test_the_operator_makes_a_tenant(records: Records) -> None:
    newcomer = a_newcomer(5000)

    account = await records.tenants.create(newcomer)

    assert (account.role, account.token_limit) == (Role.OWNER, 5000)
    assert await records.accounts.account(account.principal) == account
    assert [found.name for found in await records.documents.collections(account.principal)] == ["default"]
    with pytest.raises(UsernameTaken):
        await records.tenants.create(newcomer)


async def test_the_only_account_has_the_whole_budget(records: Records, me: Principal) -> None:
    await records.tenants.set_budget(me.tenant, 7)

    assert await limits(records, me) == [7]


async def test_a_larger_budget_leaves_limits_and_a_smaller_one_cuts_them_in_proportion(records: Records) -> None:
    owner = await records.newcomer(1000)
    await records.users.change(owner.principal, owner.account_id, UserChange(token_limit=600))
    await records.colleague(owner.principal)
    before = await limits(records, owner.principal)

    await records.tenants.set_budget(owner.tenant_id, 2000)
    larger = await limits(records, owner.principal)
    await records.tenants.set_budget(owner.tenant_id, 500)
    smaller = await limits(records, owner.principal)

    assert (before, larger, smaller) == ([600, 400], [600, 400], [300, 200])


async def test_an_unknown_tenant_has_no_budget_and_an_unknown_name_no_password(records: Records) -> None:
    with pytest.raises(NotFound):
        await records.tenants.set_budget("0" * 32, 5)
    with pytest.raises(NotFound):
        await records.tenants.set_password("nobody", "hash", revoke_keys=False)


@pytest.mark.parametrize(("revoke", "left"), [(False, 1), (True, 0)])
async def test_a_new_password_ends_logins_and_keys_if_told_to(
    records: Records, account: Account, me: Principal, revoke: bool, left: int
) -> None:
    await records.keys.create(me, "laptop", None)

    changed = await records.tenants.set_password(account.username.upper(), "another hash", revoke_keys=revoke)

    found = await records.accounts.credentials(account.username)
    assert found is not None
    assert (found.password_hash, changed.token_epoch) == ("another hash", account.token_epoch + 1)
    assert len((await records.keys.keys(me, limit=10, cursor=None)).items) == left


async def test_the_operator_disables_and_enables_even_the_last_owner(records: Records, account: Account) -> None:
    off = await records.tenants.set_active(account.username, active=False)
    on = await records.tenants.set_active(account.username, active=True)

    assert (off.is_active, on.is_active) == (False, True)
    assert (off.token_epoch, on.token_epoch) == (account.token_epoch + 1, account.token_epoch + 1)


async def everything(records: Records, me: Principal) -> None:
    """A row in every table of a tenant."""
    await records.users.change(me, me.account, UserChange(token_limit=50_000))
    member = await records.colleague(me)
    uploaded = await records.upload(me, "key")
    await records.publish(me, uploaded)
    asked = await records.ask(member.principal, billable=True, document_ids=(uploaded.document_id,))
    await records.answer(member.principal, asked, a_call(asked))
    await records.ask(member.principal, billable=True, conversation_id=asked.conversation_id)
    await records.keys.create(member.principal, "laptop", None)
    await records.accounts.end(Login(member.principal, new_id(), 0))


async def test_nothing_of_an_erased_tenant_is_left_and_nothing_else_is_gone(
    records: Records, me: Principal, elsewhere: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "REMOVED", 1)  # every table takes several rounds
    for who in (me, elsewhere):
        await everything(records, who)
    before = await records.tenants.rows(elsewhere)
    assert set(before) == {name for name, table in metadata.tables.items() if "tenant_id" in table.c} - {"audit"} | {
        "tenants"
    }
    assert all(before.values())

    await records.tenants.erase(me)
    await records.tenants.erase(me)

    assert await records.tenants.total(me) == 0
    assert await records.tenants.rows(elsewhere) == before
    kept = await records.audit.entries(tenant=me.tenant, since=None, limit=100)
    assert Event.ACCOUNT_REGISTERED in {entry.note.event for entry in kept}


async def test_a_closed_tenant_lets_nobody_in_and_stays_known(records: Records, me: Principal) -> None:
    await records.colleague(me)
    unknown = await records.tenants.known("0" * 32)

    await records.tenants.close(me)
    async with records.database.read() as connection:
        people = (await connection.execute(select(accounts.c.is_active, accounts.c.token_epoch))).all()
    await records.tenants.erase(me)

    assert [tuple(row) for row in people] == [(False, 1), (False, 1)]
    assert (unknown, await records.tenants.known(me.tenant)) == (False, True)


async def test_open_runs_of_every_account_are_listed_and_closed(records: Records, me: Principal) -> None:
    member = (await records.colleague(me)).principal
    asked, uploaded = await records.ask(member), await records.upload(me)
    done = await records.upload(me)
    await records.publish(me, done)

    listed = await records.tenants.open_runs(me)
    await records.tenants.cancel_runs(me, listed)

    assert listed == [asked.workflow_id, uploaded.workflow_id]
    assert await records.tenants.open_runs(me) == []
    assert (await records.runs.command(member, asked.workflow_id)).outcome == "cancelled"
    assert (await records.runs.command(me, done.workflow_id)).outcome == "succeeded"
