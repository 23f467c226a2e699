"""What an owner decides about the accounts of the tenant."""

from typing import Any

from sqlalchemy import Row, func
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.access import UserChange
from domain.accounts import Account, Principal, Role
from domain.audit import Event, Note
from domain.errors import Conflict
from domain.runs import Page
from infra.sql.accounts import account_of
from infra.sql.audit import write_down
from infra.sql.budgets import allotted, hold_tenant
from infra.sql.database import Database, one
from infra.sql.ownership import change as change_of
from infra.sql.ownership import pick
from infra.sql.paging import page
from infra.sql.tables import accounts


class SqlUsers:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def users(self, principal: Principal, *, limit: int, cursor: str | None) -> Page[Account]:
        async with self._database.read() as connection:
            return await page(connection, pick(principal, accounts), accounts, account_of, limit=limit, cursor=cursor)

    async def user(self, principal: Principal, account_id: str) -> Account:
        query = pick(principal, accounts).where(accounts.c.id == account_id)
        async with self._database.read() as connection:
            row = await one(connection, query)
        return account_of(row)

    async def change(self, principal: Principal, account_id: str, change: UserChange) -> Account:
        """The tenant's row is held, so that changes of two accounts follow each other."""
        async with self._database.write() as connection:
            budget = await hold_tenant(connection, principal)
            query = pick(principal, accounts).where(accounts.c.id == account_id)
            row = await one(connection, query)
            wanted = _wanted(row, change)
            if not wanted:
                return account_of(row)
            if "token_limit" in wanted:
                await _refuse_too_much(connection, principal, account_id, wanted["token_limit"], budget)
            if _steps_down(row, wanted):
                await _refuse_without_owner(connection, principal, account_id)
            epoch = row.token_epoch + (1 if _ends_logins(wanted) else 0)
            update = change_of(principal, accounts).where(accounts.c.id == account_id)
            changed = await connection.execute(update.values(**wanted, token_epoch=epoch).returning(*accounts.c))
            account = account_of(changed.one())
            note = Note(Event.USER_CHANGED, principal.tenant, principal.account, account_id, wanted)
            await write_down(connection, note)
        return account


def _wanted(row: Row[Any], change: UserChange) -> dict[str, Any]:
    """Only what is really another value."""
    named = {"is_active": change.is_active, "token_limit": change.token_limit, "role": change.role}
    return {name: value for name, value in named.items() if value is not None and value != row._mapping[name]}


def _ends_logins(wanted: dict[str, Any]) -> bool:
    return "role" in wanted or wanted.get("is_active") is False


def _steps_down(row: Row[Any], wanted: dict[str, Any]) -> bool:
    return row.is_active and row.role == Role.OWNER and _ends_logins(wanted)


async def _refuse_too_much(
    connection: AsyncConnection, principal: Principal, account_id: str, limit: int, budget: int
) -> None:
    left = budget - await allotted(connection, principal, without=account_id)
    if limit > left:
        raise Conflict(f"The tenant's budget leaves at most {max(left, 0)} tokens for this account.")


async def _refuse_without_owner(connection: AsyncConnection, principal: Principal, account_id: str) -> None:
    others = pick(principal, accounts, func.count()).where(
        accounts.c.id != account_id, accounts.c.role == Role.OWNER, accounts.c.is_active.is_(True)
    )
    if (await connection.execute(others)).scalar_one() == 0:
        raise Conflict("This is the tenant's last active owner; make somebody else an owner first.")
