"""A month's tokens: promised by one conditional update, counted and released when a run is settled."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import Principal
from infra.sql.database import add_missing
from infra.sql.ownership import change, own, owner
from infra.sql.tables import accounts, budgets


async def reserve(connection: AsyncConnection, principal: Principal, month: str, tokens: int) -> bool:
    """Promise tokens of this month; False when used, reserved and these together exceed the account's limit."""
    if await _reserve(connection, principal, month, tokens):
        return True
    await _open(connection, principal, month)
    return await _reserve(connection, principal, month, tokens)


async def spend(connection: AsyncConnection, principal: Principal, month: str, tokens: int) -> None:
    """Count tokens that were bought, promised or not."""
    await _open(connection, principal, month)
    update = change(principal, budgets).where(budgets.c.month == month)
    await connection.execute(update.values(used=budgets.c.used + tokens))


async def release(connection: AsyncConnection, principal: Principal, month: str, tokens: int) -> None:
    update = change(principal, budgets).where(budgets.c.month == month)
    await connection.execute(update.values(reserved=budgets.c.reserved - tokens))


async def _reserve(connection: AsyncConnection, principal: Principal, month: str, tokens: int) -> bool:
    limit = (
        select(accounts.c.token_limit)
        .where(own(principal, accounts), accounts.c.id == principal.account)
        .scalar_subquery()
    )
    update = change(principal, budgets).where(
        budgets.c.month == month, budgets.c.used + budgets.c.reserved + tokens <= limit
    )
    return (await connection.execute(update.values(reserved=budgets.c.reserved + tokens))).rowcount == 1


async def _open(connection: AsyncConnection, principal: Principal, month: str) -> None:
    row = {**owner(principal, budgets), "month": month, "used": 0, "reserved": 0}
    await add_missing(connection, budgets, [row])
