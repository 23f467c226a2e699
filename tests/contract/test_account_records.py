"""Contract of AccountRecords, and that no statement of any record forgets whose rows it may touch."""

import asyncio
import re
from collections import Counter
from dataclasses import replace

import pytest
from sqlalchemy import event

from domain.access import UserChange
from domain.accounts import Account, Login, Newcomer, Principal, Role
from domain.answers import Rating
from domain.errors import AccountDisabled, Conflict, MoorageError, NotFound, TokenRevoked, UsernameTaken
from domain.names import new_id
from domain.runs import Outcome, State
from infra.sql.tables import accounts, metadata
from tests.contract.records import PASSAGE, Records, a_call, a_rerun

HARUTO = Newcomer("Haruto", "haruto@example.org", "hash of a password", 5000)


async def test_a_newcomer_owns_a_tenant_with_the_collection_default(records: Records) -> None:
    account = await records.accounts.register(HARUTO)

    assert (account.username, account.email, account.role) == ("Haruto", "haruto@example.org", Role.OWNER)
    assert (account.token_limit, account.is_active, account.token_epoch) == (5000, True, 0)
    assert [found.name for found in await records.documents.collections(account.principal)] == ["default"]


async def test_an_account_is_read_as_it_was_registered(records: Records) -> None:
    account = await records.accounts.register(HARUTO)

    assert await records.accounts.account(account.principal) == account


async def test_newcomers_do_not_share_a_tenant(records: Records) -> None:
    accounts = [await records.newcomer() for _ in range(2)]

    assert len({account.tenant_id for account in accounts}) == 2


@pytest.mark.parametrize("username", ["Haruto", "haruto", "HARUTO", "Ｈaruto"])
async def test_a_username_is_taken_whatever_its_case_and_width(records: Records, username: str) -> None:
    await records.accounts.register(HARUTO)

    with pytest.raises(UsernameTaken):
        await records.accounts.register(replace(HARUTO, username=username))


async def test_a_refused_registration_leaves_no_tenant(records: Records) -> None:
    await records.accounts.register(HARUTO)

    with pytest.raises(UsernameTaken):
        await records.accounts.register(HARUTO)

    async with records.database.read() as connection:
        for name in ("tenants", "accounts", "collections"):
            assert len((await connection.execute(metadata.tables[name].select())).all()) == 1


async def test_of_many_registrations_of_a_name_one_wins(records: Records) -> None:
    results = await asyncio.gather(*(records.accounts.register(HARUTO) for _ in range(10)), return_exceptions=True)

    assert len([found for found in results if isinstance(found, Account)]) == 1
    assert len([found for found in results if isinstance(found, UsernameTaken)]) == 9


async def test_of_registrations_of_one_name_at_once_one_wins(records: Records) -> None:
    results = await asyncio.gather(*(records.accounts.register(HARUTO) for _ in range(10)), return_exceptions=True)

    assert Counter(type(result) for result in results) == {Account: 1, UsernameTaken: 9}


async def test_credentials_are_found_by_username_in_any_case(records: Records) -> None:
    account = await records.accounts.register(HARUTO)

    found = await records.accounts.credentials("hARUTO")

    assert found is not None
    assert (found.account, found.password_hash) == (account, "hash of a password")


async def test_an_unknown_username_has_no_credentials(records: Records) -> None:
    assert await records.accounts.credentials("nobody") is None


async def test_an_account_is_absent_under_another_tenant(
    records: Records, account: Account, elsewhere: Principal
) -> None:
    with pytest.raises(NotFound):
        await records.accounts.account(Principal(elsewhere.tenant, account.account_id))


def a_login(account: Account) -> Login:
    return Login(account.principal, new_id(), account.token_epoch)


async def refusal(records: Records, login: Login) -> type[MoorageError] | None:
    try:
        (await records.accounts.login_state(login.principal, login.family)).require(login)
    except MoorageError as error:
        return type(error)
    return None


async def test_a_login_of_which_nothing_is_noted_holds(records: Records, account: Account) -> None:
    state = await records.accounts.login_state(account.principal, new_id())

    assert state.account == account
    assert state.require(a_login(account)) == account.principal


async def test_an_ended_login_leaves_the_others_alone(records: Records, account: Account) -> None:
    mine, other = a_login(account), a_login(account)

    for _ in range(2):
        await records.accounts.end(mine)

    assert await refusal(records, mine) is TokenRevoked
    assert await refusal(records, other) is None


async def test_all_logins_of_an_account_end_together(records: Records, account: Account) -> None:
    colleague = await records.newcomer()
    logins = [a_login(account) for _ in range(3)]

    await records.accounts.end_all(account.principal)

    assert {await refusal(records, login) for login in logins} == {TokenRevoked}
    assert await refusal(records, a_login(colleague)) is None


async def test_a_new_password_ends_every_login_but_the_one_that_changed_it(records: Records, account: Account) -> None:
    mine, other = a_login(account), a_login(account)

    await records.accounts.change_password(mine, "hash", "new hash")

    found = await records.accounts.credentials(account.username)
    assert found is not None
    assert (found.password_hash, found.account.token_epoch) == ("new hash", 1)
    assert await refusal(records, mine) is None
    assert await refusal(records, other) is TokenRevoked


async def test_a_login_that_was_carried_over_can_still_be_ended(records: Records, account: Account) -> None:
    ended, outlived = a_login(account), a_login(account)
    await records.accounts.change_password(ended, "hash", "new hash")
    await records.accounts.end(ended)
    assert await refusal(records, ended) is TokenRevoked

    await records.accounts.change_password(outlived, "new hash", "newer hash")
    await records.accounts.end_all(account.principal)
    assert await refusal(records, outlived) is TokenRevoked


async def test_of_two_changes_of_a_password_one_wins(records: Records, account: Account) -> None:
    changes = (records.accounts.change_password(a_login(account), "hash", f"hash {n}") for n in range(2))

    results = await asyncio.gather(*changes, return_exceptions=True)

    assert [type(found) for found in results if found] == [Conflict]
    assert (await records.accounts.account(account.principal)).token_epoch == 1


async def test_a_rehash_ends_no_login_and_loses_to_a_change(records: Records, account: Account) -> None:
    await records.accounts.rehash(account.principal, "hash", "stronger")
    await records.accounts.rehash(account.principal, "hash", "too late")

    found = await records.accounts.credentials(account.username)
    assert found is not None
    assert (found.password_hash, found.account.token_epoch) == ("stronger", 0)


async def test_a_disabled_account_holds_no_login(records: Records, account: Account) -> None:
    async with records.database.write() as connection:
        await connection.execute(accounts.update().where(accounts.c.id == account.account_id).values(is_active=False))

    assert await refusal(records, a_login(account)) is AccountDisabled


async def test_every_statement_on_a_tenants_rows_names_the_tenant(records: Records, me: Principal) -> None:
    statements: list[str] = []
    for engine in (records.database._reader, records.database._writer):
        event.listen(engine.sync_engine, "before_cursor_execute", lambda _c, _cur, sql, *_: statements.append(sql))

    await exercise(records, me)

    guarded = [sql for sql in statements if sql.startswith(("SELECT", "UPDATE", "DELETE"))]
    forgetful = [sql for sql in guarded if not re.search(r"tenant_id = [?$]|tenants\.id = [?$]", sql)]
    assert len(guarded) > 40
    assert forgetful == []


async def test_every_statement_on_an_accounts_own_rows_names_the_account(records: Records, me: Principal) -> None:
    statements: list[str] = []
    for engine in (records.database._reader, records.database._writer):
        event.listen(engine.sync_engine, "before_cursor_execute", lambda _c, _cur, sql, *_: statements.append(sql))

    await exercise(records, me)

    private = ("turns", "conversations", "provider_calls", "budgets", "api_keys", "logins")
    guarded = [sql for sql in statements if any(sql.startswith(f"UPDATE {t} ") or f"FROM {t} " in sql for t in private)]
    forgetful = [sql for sql in guarded if not re.search(r"account_id = [?$]", sql)]
    assert len(guarded) > 15
    assert forgetful == []


async def exercise(records: Records, me: Principal) -> None:
    """Every method that takes a principal, once at least."""
    await records.accounts.account(me)
    login = Login(me, new_id(), 0)
    await records.accounts.login_state(me, login.family)
    await records.accounts.end(login)
    await records.accounts.change_password(login, "hash", "new hash")
    await records.accounts.rehash(me, "new hash", "newer hash")
    await records.accounts.end_all(me)
    uploaded = await records.upload(me, "key-1")
    assert uploaded.document_id and uploaded.version
    version = (uploaded.document_id, uploaded.version)
    await records.documents.version(me, *version)
    await records.documents.parsed(me, *version, pages=2)
    await records.documents.stage(me, *version)
    await records.publish(me, uploaded)
    collection = await records.documents.collection(me, "default")
    await records.documents.generation(me, collection.collection_id)
    await records.documents.collections(me)
    await records.documents.documents(me, collection="default", state="ready")
    await records.documents.document(me, version[0])
    await records.documents.require(me, [version[0]])
    await records.documents.staged(me, collection.collection_id, 10)
    await records.documents.live(me, [version[0]])
    first = await records.ask(me, "key-2", billable=True, document_ids=(version[0],))
    assert first.conversation_id
    await records.ask(me, billable=True, conversation_id=first.conversation_id)
    turn = await records.turns.turn(me, first.conversation_id, 1)
    await records.turns.note_query(me, turn, "query", flags=[])
    await records.turns.note_passages(me, turn, [PASSAGE], relevant=True)
    await records.answer(me, first, a_call(first))
    await records.turns.past(me, first.conversation_id, 2)
    await records.turns.note_summary(me, turn, "summary", 1, after=0, calls=[])
    await records.turns.note_flag(me, turn, "flag")
    await records.turns.conversations(me, limit=10, cursor=None)
    await records.turns.history(me, first.conversation_id, 10)
    await records.usage.record(me, [a_call(first)])
    await records.usage.settle(me, first.workflow_id)
    await records.usage.month(me, "2026-01")
    await records.runs.command(me, first.workflow_id)
    await records.runs.commands(me)
    failed = await records.upload(me)
    await records.runs.close(me, failed.workflow_id, Outcome(State.FAILED, "corrupt_file", "parse"))
    await records.turns.conversation(me, first.conversation_id)
    await records.answers.rate(me, first.workflow_id, Rating.UP, None)
    rerun = await records.admissions.admit_rerun(me, a_rerun(first), "key-3", "d")
    await records.answers.record(me, rerun.workflow_id)
    await records.answers.exchanges(me, first.conversation_id, limit=10, cursor=None)
    await records.turns.forget(me, first.conversation_id)
    key, _ = await records.keys.create(me, "laptop", None)
    await records.keys.keys(me, limit=10, cursor=None)
    await records.keys.delete(me, key.key_id)
    await records.invites.create(me, Role.OWNER)
    await records.users.users(me, limit=10, cursor=None)
    await records.users.change(me, me.account, UserChange(token_limit=1))
