"""The operator's view of the database: tenants with their accounts and budgets, and a tenant's end."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, delete, exists, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import Account, Newcomer, Principal
from domain.audit import Event, Note
from domain.errors import NotFound, UsernameTaken
from domain.operator import Tenant
from domain.runs import State
from domain.usage import month_of
from infra.sql.accounts import account_of, first_owner, folded, found_tenant
from infra.sql.audit import write_down
from infra.sql.budgets import allotted, hold_tenant
from infra.sql.database import Collision, Database, utc_now
from infra.sql.tables import accounts, api_keys, audit, budgets, commands, metadata, tenants

REMOVED = 2000  # rows of one transaction, which has a deadline


class SqlTenants:
    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock

    async def create(self, newcomer: Newcomer) -> Account:
        owner = first_owner(newcomer)
        try:
            async with self._database.write() as connection:
                await found_tenant(connection, owner, newcomer.password_hash)
                made = {"account": owner.account_id, "token_limit": owner.token_limit}
                await write_down(connection, Note(Event.TENANT_CREATED, owner.tenant_id, None, owner.tenant_id, made))
        except Collision:
            raise UsernameTaken from None
        return owner

    async def tenants(self) -> list[Tenant]:
        month = month_of(self._clock())
        sums = select(budgets.c.tenant_id, func.sum(budgets.c.used).label("used"), _reserved())
        async with self._database.read() as connection:
            rows = (await connection.execute(select(tenants).order_by(tenants.c.created_at, tenants.c.id))).all()
            people = (await connection.execute(select(accounts).order_by(accounts.c.created_at))).all()
            counted = await connection.execute(sums.where(budgets.c.month == month).group_by(budgets.c.tenant_id))
            months = {row.tenant_id: (int(row.used), int(row.reserved)) for row in counted}
        members: dict[str, list[Account]] = defaultdict(list)
        for row in people:
            members[row.tenant_id].append(account_of(row))
        return [
            Tenant(row.id, row.token_limit, *months.get(row.id, (0, 0)), row.created_at, tuple(members[row.id]))
            for row in rows
        ]

    async def known(self, tenant_id: str) -> bool:
        here = exists().where(tenants.c.id == tenant_id)
        begun = exists().where(audit.c.tenant_id == tenant_id, audit.c.event == Event.TENANT_DELETION_BEGUN)
        async with self._database.read() as connection:
            return bool((await connection.execute(select(or_(here, begun)))).scalar_one())

    async def set_budget(self, tenant_id: str, tokens: int) -> None:
        """The only account of a tenant has the whole budget; several are cut where theirs exceed it together."""
        tenant = _whole(tenant_id)
        async with self._database.write() as connection:
            await hold_tenant(connection, tenant)
            await connection.execute(update(tenants).where(tenants.c.id == tenant_id).values(token_limit=tokens))
            before = await allotted(connection, tenant)
            people = (await connection.execute(select(accounts).where(accounts.c.tenant_id == tenant_id))).all()
            for row in people:
                limit = tokens if len(people) == 1 else min(row.token_limit, row.token_limit * tokens // (before or 1))
                mine = update(accounts).where(accounts.c.id == row.id)
                await connection.execute(mine.values(token_limit=limit))
            await write_down(connection, Note(Event.BUDGET_SET, tenant_id, None, tenant_id, {"token_limit": tokens}))

    async def set_password(self, username: str, password_hash: str, *, revoke_keys: bool) -> Account:
        async with self._database.write() as connection:
            changed = {"password_hash": password_hash, "token_epoch": accounts.c.token_epoch + 1}
            account = await _change(connection, username, changed)
            if revoke_keys:
                await connection.execute(delete(api_keys).where(api_keys.c.account_id == account.account_id))
            facts = {"keys_revoked": revoke_keys}
            await write_down(connection, Note(Event.PASSWORD_RESET, account.tenant_id, None, account.account_id, facts))
        return account

    async def set_active(self, username: str, active: bool) -> Account:
        event = Event.ACCOUNT_ENABLED if active else Event.ACCOUNT_DISABLED
        async with self._database.write() as connection:
            changed = {"is_active": active, "token_epoch": accounts.c.token_epoch + (0 if active else 1)}
            account = await _change(connection, username, changed)
            await write_down(connection, Note(event, account.tenant_id, None, account.account_id))
        return account

    async def close(self, principal: Principal) -> None:
        shut = update(accounts).where(accounts.c.tenant_id == principal.tenant)
        async with self._database.write() as connection:
            await connection.execute(shut.values(is_active=False, token_epoch=accounts.c.token_epoch + 1))
            await write_down(connection, Note(Event.TENANT_DELETION_BEGUN, principal.tenant, None, principal.tenant))

    async def open_runs(self, principal: Principal) -> list[str]:
        query = select(commands.c.workflow_id).where(*_open(principal)).order_by(commands.c.created_at)
        async with self._database.read() as connection:
            return list((await connection.execute(query)).scalars())

    async def cancel_runs(self, principal: Principal, workflow_ids: Sequence[str]) -> None:
        now = self._clock()
        ended = {"outcome": State.CANCELLED, "finished_at": now, "updated_at": now}
        for start in range(0, len(workflow_ids), REMOVED):
            these = commands.c.workflow_id.in_(workflow_ids[start : start + REMOVED])
            async with self._database.write() as connection:
                await connection.execute(update(commands).where(*_open(principal), these).values(**ended))

    async def rows(self, principal: Principal) -> dict[str, int]:
        counts = {}
        for table in _tables():
            async with self._database.read() as connection:
                query = select(func.count()).select_from(table).where(_of(principal, table))
                counts[table.name] = (await connection.execute(query)).scalar_one()
        return counts

    async def total(self, principal: Principal) -> int:
        return sum((await self.rows(principal)).values())

    async def erase(self, principal: Principal) -> None:
        """What refers to a row goes before it; the tenant's own row is the last, so that it can be called again."""
        for table in _tables():
            left = True
            while left:
                left = await self._remove(principal, table)

    async def _remove(self, principal: Principal, table: Table) -> bool:
        key = tuple_(*table.primary_key)
        some = select(*table.primary_key).where(_of(principal, table)).limit(REMOVED)
        async with self._database.write() as connection:
            return (await connection.execute(delete(table).where(key.in_(some)))).rowcount > 0


def _tables() -> list[Table]:
    """Every table that has rows of a tenant, referring ones first; the audit stays."""
    ours = [table for table in reversed(metadata.sorted_tables) if "tenant_id" in table.c and table is not audit]
    return [*ours, tenants]


def _of(principal: Principal, table: Table) -> ColumnElement[bool]:
    column = table.c.id if table is tenants else table.c.tenant_id
    return column == principal.tenant


def _open(principal: Principal) -> tuple[ColumnElement[bool], ...]:
    return commands.c.tenant_id == principal.tenant, commands.c.outcome.is_(None)


def _reserved() -> ColumnElement[int]:
    return func.sum(budgets.c.reserved).label("reserved")


def _whole(tenant_id: str) -> Principal:
    return Principal(tenant_id, "")


async def _change(connection: AsyncConnection, username: str, values: dict[str, Any]) -> Account:
    update_one = update(accounts).where(accounts.c.username_folded == folded(username)).values(**values)
    row = (await connection.execute(update_one.returning(*accounts.c))).one_or_none()
    if row is None:
        raise NotFound("No account has this username.")
    return account_of(row)
