"""A month's tokens: promised within the account's limit and the tenant's budget, counted and released at settlement.

Whoever needs more than one of these rows locks them in this order: invites, tenants, accounts, budgets. The tenant's
row is the turnstile of its budget; the lock leaves alone who merely refers to it (`FOR NO KEY UPDATE`).
"""

from sqlalchemy import case, exists, func, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import Principal
from domain.errors import NotFound
from domain.usage import Room
from infra.sql.database import add_missing
from infra.sql.ownership import change, own, owner, pick
from infra.sql.runs import HELD
from infra.sql.tables import accounts, budgets, commands, tenants

ENDED = HELD, commands.c.outcome.is_not(None)  # and their promises still stand


async def reserve(connection: AsyncConnection, principal: Principal, month: str, tokens: int) -> bool:
    """Promise tokens of this month. False when used, reserved and these together exceed the account's limit, or
    those of all accounts the tenant's budget."""
    budget = await hold_tenant(connection, principal)
    if await _reserve(connection, principal, month, tokens, budget):
        return True
    await _open(connection, principal, month)
    return await _reserve(connection, principal, month, tokens, budget)


async def hold_tenant(connection: AsyncConnection, principal: Principal) -> int:
    """The tenant's budget, which nobody else promises or divides until this transaction ends. Raises NotFound."""
    query = pick(principal, tenants, tenants.c.token_limit).with_for_update(key_share=True)
    budget: int | None = (await connection.execute(query)).scalar_one_or_none()
    if budget is None:
        raise NotFound
    return budget


async def allotted(connection: AsyncConnection, principal: Principal, *, without: str = "") -> int:
    """The limits of the tenant's accounts together, disabled ones included; the tenant is held."""
    total = func.coalesce(func.sum(accounts.c.token_limit), 0)
    query = pick(principal, accounts, total).where(accounts.c.id != without)
    return int((await connection.execute(query)).scalar_one())


async def hold(connection: AsyncConnection, principal: Principal, month: str) -> None:
    """The account's month, which is made if it is missing and which nobody else changes until this transaction ends."""
    await _open(connection, principal, month)
    await connection.execute(pick(principal, budgets).where(budgets.c.month == month).with_for_update())


async def spend(connection: AsyncConnection, principal: Principal, month: str, tokens: int) -> None:
    """Count tokens that were bought, promised or not."""
    await _open(connection, principal, month)
    update = change(principal, budgets).where(budgets.c.month == month)
    await connection.execute(update.values(used=budgets.c.used + tokens))


async def release(connection: AsyncConnection, principal: Principal, month: str, tokens: int) -> None:
    update = change(principal, budgets).where(budgets.c.month == month)
    if (await connection.execute(update.values(reserved=budgets.c.reserved - tokens))).rowcount:
        return
    await _open(connection, principal, month)  # the row was lost: who is making it anew may still count this promise
    left = case((budgets.c.reserved > tokens, budgets.c.reserved - tokens), else_=0)
    await connection.execute(update.values(reserved=left))


async def room(connection: AsyncConnection, principal: Principal, month: str) -> Room:
    """What the account's limit and the tenant's budget leave, whichever is less; of one moment, and without a lock."""
    unsettled = exists().where(commands.c.tenant_id == principal.tenant, *ENDED)
    sums = select(*(func.coalesce(func.sum(budgets.c[name]), 0) for name in ("used", "reserved")))
    months = sums.where(budgets.c.tenant_id == principal.tenant, budgets.c.month == month)
    mine, ours = months.where(own(principal, budgets)).subquery(), months.subquery()
    query = (
        pick(principal, accounts, accounts.c.token_limit, tenants.c.token_limit, unsettled, mine, ours)
        .join(tenants, tenants.c.id == accounts.c.tenant_id)
        .join(mine, true())
        .join(ours, true())
        .where(accounts.c.id == principal.account)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound
    limit, budget, open_promises, used, reserved, used_by_us, reserved_by_us = row
    free = min(limit - used - reserved, budget - used_by_us - reserved_by_us)
    return Room(max(0, int(free)), max(0, int(min(limit - used, budget - used_by_us))), bool(open_promises))


async def _reserve(connection: AsyncConnection, principal: Principal, month: str, tokens: int, budget: int) -> bool:
    limit = (
        select(accounts.c.token_limit)
        .where(own(principal, accounts), accounts.c.id == principal.account)
        .scalar_subquery()
    )
    all_of_us = budgets.alias()
    together = (
        select(func.sum(all_of_us.c.used + all_of_us.c.reserved))
        .where(all_of_us.c.tenant_id == principal.tenant, all_of_us.c.month == month)
        .scalar_subquery()
    )
    update = change(principal, budgets).where(
        budgets.c.month == month,
        budgets.c.used + budgets.c.reserved + tokens <= limit,
        together + tokens <= budget,
    )
    return (await connection.execute(update.values(reserved=budgets.c.reserved + tokens))).rowcount == 1


async def _open(connection: AsyncConnection, principal: Principal, month: str) -> None:
    row = {**owner(principal, budgets), "month": month, "used": 0, "reserved": 0}
    await add_missing(connection, budgets, [row])
