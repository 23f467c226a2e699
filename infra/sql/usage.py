"""The ledger: every reply of a model, and the months it is counted in."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, func
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import Principal
from domain.errors import NotFound
from domain.usage import COUNTED, Delivery, Month, ProviderCall, Purpose, PurposeTotal, month_of
from infra.sql import budgets as budget
from infra.sql.database import Database, add_missing
from infra.sql.ownership import change, owner, pick
from infra.sql.tables import accounts, budgets, commands, provider_calls


class SqlUsage:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, principal: Principal, calls: Sequence[ProviderCall]) -> None:
        """Append to the ledger; an op_id that is there already changes nothing."""
        if calls:
            async with self._database.write() as connection:
                await record(connection, principal, calls)

    async def settle(self, principal: Principal, workflow_id: str) -> int:
        """Move what the run really cost into the month and release its reservation; the tokens counted.

        Idempotent: every call counts once, the reservation is released once.
        """
        async with self._database.write() as connection:
            await _release(connection, principal, workflow_id)
            spent = await _settle_calls(connection, principal, workflow_id)
            for month, tokens in sorted(spent.items()):
                await budget.spend(connection, principal, month, tokens)
        return spent.total()

    async def month(self, principal: Principal, month: str) -> Month:
        """Raises NotFound when there is no such account."""
        account = pick(principal, accounts, accounts.c.token_limit).where(accounts.c.id == principal.account)
        counters = pick(principal, budgets, budgets.c.used, budgets.c.reserved).where(budgets.c.month == month)
        async with self._database.read() as connection:
            limit = (await connection.execute(account)).scalar_one_or_none()
            row = (await connection.execute(counters)).one_or_none()
            totals = (await connection.execute(_totals(principal, month))).all()
        if limit is None:
            raise NotFound
        used, reserved = (row.used, row.reserved) if row else (0, 0)
        lines = [PurposeTotal(Purpose(r.purpose), r.model, int(r.tokens), r.calls, r.billable) for r in totals]
        return Month(principal.account, month, used, reserved, limit, tuple(lines))


async def record(connection: AsyncConnection, principal: Principal, calls: Sequence[ProviderCall]) -> None:
    """The same inside somebody else's transaction."""
    rows = [{**owner(principal, provider_calls), **_row(call)} for call in calls]
    await add_missing(connection, provider_calls, rows)


def _row(call: ProviderCall) -> dict[str, Any]:
    return {
        "op_id": call.op_id,
        "workflow_id": call.workflow_id,
        "purpose": call.purpose,
        "model": call.model,
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": call.completion_tokens,
        "delivery": call.delivery,
        "billable": call.billable,
        "month": month_of(call.at),
        "at": call.at,
        "settled": False,
    }


async def _release(connection: AsyncConnection, principal: Principal, workflow_id: str) -> None:
    """The command's row is locked first, so that two settlements of one run follow each other."""
    query = pick(principal, commands, commands.c.reserved, commands.c.reserved_month)
    query = query.where(commands.c.workflow_id == workflow_id).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    if row is None or not row.reserved:
        return
    update = change(principal, commands).where(commands.c.workflow_id == workflow_id)
    await connection.execute(update.values(reserved=0))
    await budget.release(connection, principal, row.reserved_month, row.reserved)


async def _settle_calls(connection: AsyncConnection, principal: Principal, workflow_id: str) -> Counter[str]:
    """Marks every call of the run and gives the tokens that count, by month."""
    update = (
        change(principal, provider_calls)
        .where(provider_calls.c.workflow_id == workflow_id, provider_calls.c.settled.is_(False))
        .values(settled=True)
        .returning(*provider_calls.c)
    )
    spent: Counter[str] = Counter()
    for row in await connection.execute(update):
        if row.billable and row.purpose in COUNTED and row.delivery != Delivery.RETRIED:
            spent[row.month] += row.prompt_tokens + row.completion_tokens
    return spent


def _totals(principal: Principal, month: str) -> Select[Any]:
    calls = provider_calls.c
    tokens = func.sum(calls.prompt_tokens + calls.completion_tokens).label("tokens")
    group = (calls.purpose, calls.model, calls.billable)
    return (
        pick(principal, provider_calls, *group, tokens, func.count().label("calls"))
        .where(calls.month == month, calls.delivery != Delivery.RETRIED)
        .group_by(*group)
        .order_by(*group)
    )
