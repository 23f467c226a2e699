"""Invites by the hash of their secret: made by an owner, used up by the registration that joins the tenant."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.access import INVITE_LIFETIME, MOST_INVITES
from domain.accounts import Principal, Role
from domain.audit import Event, Note
from domain.errors import Conflict, InvalidInvite
from domain.names import new_id
from infra import opaque
from infra.sql.audit import write_down
from infra.sql.budgets import hold_tenant
from infra.sql.database import Database, utc_now
from infra.sql.ownership import add, pick
from infra.sql.tables import accounts, invites


class SqlInvites:
    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock

    async def create(self, principal: Principal, role: Role) -> tuple[str, datetime]:
        secret, secret_hash = opaque.mint(opaque.INVITE)
        invite_id, now = new_id(), self._clock()
        times = {"created_at": now, "expires_at": now + INVITE_LIFETIME}
        async with self._database.write() as connection:
            await hold_tenant(connection, principal)
            await _make_room(connection, principal, now)
            row = {"id": invite_id, "role": role, "secret_hash": secret_hash}
            await connection.execute(add(principal, invites, **row, **times))
            note = Note(Event.INVITE_CREATED, principal.tenant, principal.account, invite_id, {"role": role})
            await write_down(connection, note)
        return secret, times["expires_at"]


async def redeem(connection: AsyncConnection, secret: str, account_id: str, now: datetime) -> Row[Any]:
    """Use it up for this account, inside the transaction that makes the account. Raises InvalidInvite.

    The row is locked, so that of two registrations the second finds it used. An invite dies with the rights of
    whoever gave it.
    """
    if not opaque.looks_like(opaque.INVITE, secret):
        raise InvalidInvite
    secret_hash = opaque.digest(secret)
    query = (
        select(invites)
        .join(accounts, accounts.c.id == invites.c.account_id)
        .where(invites.c.secret_hash == secret_hash, invites.c.used_by.is_(None), invites.c.expires_at > now)
        .where(accounts.c.is_active.is_(True), accounts.c.role == Role.OWNER)
        .with_for_update(of=invites, key_share=True)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None or not opaque.same(row.secret_hash, secret_hash):
        raise InvalidInvite
    await connection.execute(update(invites).where(invites.c.id == row.id).values(used_by=account_id))
    return row


async def _make_room(connection: AsyncConnection, principal: Principal, now: datetime) -> None:
    waiting = pick(principal, invites, func.count()).where(invites.c.used_by.is_(None), invites.c.expires_at > now)
    if (await connection.execute(waiting)).scalar_one() >= MOST_INVITES:
        raise Conflict(f"A tenant has at most {MOST_INVITES} open invites; wait until some are used or expire.")
