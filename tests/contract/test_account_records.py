"""Contract of AccountRecords, and that no statement of any record forgets whose rows it may touch."""

import asyncio
import re
from collections import Counter
from dataclasses import replace

import pytest
from sqlalchemy import event

from domain.access import UserChange
from domain.accounts import Account, Newcomer, Principal, Role
from domain.errors import NotFound, UsernameTaken
from domain.runs import Outcome, State
from infra.sql.tables import metadata
from tests.contract.records import PASSAGE, Records, a_call

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

    private = ("turns", "conversations", "provider_calls", "budgets", "api_keys")
    guarded = [sql for sql in statements if any(sql.startswith(f"UPDATE {t} ") or f"FROM {t} " in sql for t in private)]
    forgetful = [sql for sql in guarded if not re.search(r"account_id = [?$]", sql)]
    assert len(guarded) > 15
    assert forgetful == []


async def exercise(records: Records, me: Principal) -> None:
    """Every method that takes a principal, once at least."""
    await records.accounts.account(me)
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
    await records.turns.window(me, first.conversation_id, 2, 10)
    await records.turns.conversations(me, limit=10, cursor=None)
    await records.turns.history(me, first.conversation_id, 10)
    await records.usage.record(me, [a_call(first)])
    await records.usage.settle(me, first.workflow_id)
    await records.usage.month(me, "2026-01")
    await records.runs.command(me, first.workflow_id)
    await records.runs.commands(me)
    failed = await records.upload(me)
    await records.runs.close(me, failed.workflow_id, Outcome(State.FAILED, "corrupt_file", "parse"))
    await records.turns.forget(me, first.conversation_id)
    key, _ = await records.keys.create(me, "laptop", None)
    await records.keys.keys(me, limit=10, cursor=None)
    await records.keys.delete(me, key.key_id)
    await records.invites.create(me, Role.OWNER)
    await records.users.users(me, limit=10, cursor=None)
    await records.users.change(me, me.account, UserChange(token_limit=1))
