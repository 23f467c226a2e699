"""Contract of Audit: every change of access leaves a line, in the same transaction, without a secret or a name."""

import json
from dataclasses import asdict
from datetime import timedelta

import pytest

from domain.access import UserChange
from domain.accounts import Principal, Role
from domain.audit import Event, Note
from domain.errors import Conflict, NotFound
from infra.sql.database import utc_now
from tests.contract.records import Records, a_newcomer


async def events(records: Records, tenant: str | None = None) -> list[Event]:
    entries = await records.audit.entries(tenant=tenant, since=None, limit=100)
    return [entry.note.event for entry in reversed(entries)]


async def test_every_change_of_access_leaves_a_line(records: Records) -> None:
    owner = await records.accounts.register(a_newcomer(1000))
    me = owner.principal
    invite, _ = await records.invites.create(me, Role.MEMBER)
    member = await records.accounts.join(a_newcomer(), invite)
    key, secret = await records.keys.create(me, "laptop", None)
    await records.keys.delete(me, key.key_id)
    await records.users.change(me, member.account_id, UserChange(is_active=False))

    assert await events(records, me.tenant) == [
        Event.ACCOUNT_REGISTERED,
        Event.INVITE_CREATED,
        Event.ACCOUNT_JOINED,
        Event.KEY_CREATED,
        Event.KEY_DELETED,
        Event.USER_CHANGED,
    ]
    entries = await records.audit.entries(tenant=me.tenant, since=None, limit=100)
    assert entries[0].note == Note(Event.USER_CHANGED, me.tenant, me.account, member.account_id, {"is_active": False})
    told = json.dumps([asdict(entry.note) for entry in entries])
    assert not any(word in told for word in (secret, invite, owner.username, owner.email, member.username, "laptop"))


async def test_what_was_refused_leaves_no_line(records: Records, me: Principal) -> None:
    before = await events(records)

    with pytest.raises(Conflict):
        await records.users.change(me, me.account, UserChange(is_active=False))
    with pytest.raises(NotFound):
        await records.keys.delete(me, "0" * 32)
    await records.users.change(me, me.account, UserChange(is_active=True))

    assert await events(records) == before


async def test_entries_are_of_a_tenant_and_since_a_moment(
    records: Records, me: Principal, elsewhere: Principal
) -> None:
    await records.audit.note(Note(Event.BUDGET_SET, me.tenant, None, me.tenant, {"token_limit": 5}))

    mine = await records.audit.entries(tenant=me.tenant, since=None, limit=1)
    later = await records.audit.entries(tenant=None, since=utc_now() + timedelta(seconds=1), limit=10)

    assert [entry.note.facts for entry in mine] == [{"token_limit": 5}]
    assert later == []
    assert await events(records, elsewhere.tenant) == [Event.ACCOUNT_REGISTERED]
