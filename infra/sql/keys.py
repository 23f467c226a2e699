"""API keys by the hash of their secret: made, listed, removed, and verified with every call that brings one."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Row, Select, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.access import MOST_KEYS, NOTED_EVERY, ApiKey
from domain.accounts import Principal, Role
from domain.audit import Event, Note
from domain.errors import AccountDisabled, Conflict, DatabaseUnavailable, NotFound, TokenExpired, Unauthenticated
from domain.names import new_id
from domain.runs import Page
from infra import opaque
from infra.sql.audit import write_down
from infra.sql.database import Database, one, utc_now
from infra.sql.ownership import add, pick, remove
from infra.sql.paging import page
from infra.sql.tables import accounts, api_keys

_log = structlog.get_logger()


class SqlKeys:
    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock

    async def create(self, principal: Principal, name: str, expires_at: datetime | None) -> tuple[ApiKey, str]:
        secret, secret_hash = opaque.mint(opaque.KEY)
        key = ApiKey(new_id(), name, self._clock(), expires_at, None)
        row = {"id": key.key_id, "name": name, "created_at": key.created_at, "expires_at": expires_at}
        async with self._database.write() as connection:
            await _make_room(connection, principal)
            await connection.execute(add(principal, api_keys, **row, secret_hash=secret_hash))
            facts = {"expires_at": expires_at.isoformat() if expires_at else None}
            note = Note(Event.KEY_CREATED, principal.tenant, principal.account, key.key_id, facts)
            await write_down(connection, note)
        return key, secret

    async def keys(self, principal: Principal, *, limit: int, cursor: str | None) -> Page[ApiKey]:
        async with self._database.read() as connection:
            return await page(connection, pick(principal, api_keys), api_keys, _key, limit=limit, cursor=cursor)

    async def delete(self, principal: Principal, key_id: str) -> None:
        async with self._database.write() as connection:
            gone = await connection.execute(remove(principal, api_keys).where(api_keys.c.id == key_id))
            if gone.rowcount == 0:
                raise NotFound
            await write_down(connection, Note(Event.KEY_DELETED, principal.tenant, principal.account, key_id))

    async def verify(self, secret: str) -> Principal:
        if not opaque.looks_like(opaque.KEY, secret):
            raise Unauthenticated
        now, secret_hash = self._clock(), opaque.digest(secret)
        query: Select[Any] = (
            select(*api_keys.c, accounts.c.role, accounts.c.is_active)
            .join(accounts, accounts.c.id == api_keys.c.account_id)
            .where(api_keys.c.secret_hash == secret_hash)
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None or not opaque.same(row.secret_hash, secret_hash):
            raise Unauthenticated
        _refuse(row, now)
        if row.last_used_at is None or row.last_used_at <= now - NOTED_EVERY:
            await self._note_use(row.id, now)
        return Principal(row.tenant_id, row.account_id, Role(row.role))

    async def _note_use(self, key_id: str, now: datetime) -> None:
        """Of calls that come together one writes. A database that is too busy for it does not refuse the key."""
        noted = update(api_keys).where(api_keys.c.id == key_id, _stale(now)).values(last_used_at=now)
        try:
            async with self._database.write() as connection:
                await connection.execute(noted)
        except DatabaseUnavailable:
            _log.warning("key_use_not_noted", key=key_id)


def _refuse(row: Row[Any], now: datetime) -> None:
    if row.expires_at is not None and row.expires_at <= now:
        _log.warning("key_refused", key=row.id, reason="expired")
        raise TokenExpired("The API key has expired; make a new one.")
    if not row.is_active:
        _log.warning("key_refused", key=row.id, reason="account_disabled")
        raise AccountDisabled


async def _make_room(connection: AsyncConnection, principal: Principal) -> None:
    """The account's row is locked first, so that two keys made at once are counted one after the other."""
    mine = pick(principal, accounts, accounts.c.id).where(accounts.c.id == principal.account)
    await one(connection, mine.with_for_update(key_share=True))
    if (await connection.execute(pick(principal, api_keys, func.count()))).scalar_one() >= MOST_KEYS:
        raise Conflict(f"An account has at most {MOST_KEYS} API keys; delete one that is not used any more.")


def _stale(now: datetime) -> ColumnElement[bool]:
    return or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at <= now - NOTED_EVERY)


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(row.id, row.name, row.created_at, row.expires_at, row.last_used_at)
