"""The ledger: every call of a model, and the months it is counted in."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Row, Select, and_, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import Principal
from domain.errors import NotFound
from domain.runs import Page, State
from domain.usage import BILLED, COUNTED, Delivery, Month, ProviderCall, Purpose, PurposeTotal, month_of
from infra import telemetry
from infra.sql import budgets as budget
from infra.sql.database import Database, add_missing, after_commit, put
from infra.sql.ownership import change, own, owner, pick, remove
from infra.sql.paging import page
from infra.sql.tables import accounts, budgets, commands, provider_calls

OPEN = provider_calls.c.delivery == Delivery.OPEN
COUNTED_TOKENS = case(  # of a call, what the month counts
    (
        and_(
            provider_calls.c.billable,
            provider_calls.c.purpose.in_(COUNTED),
            provider_calls.c.delivery.in_(BILLED),
        ),
        provider_calls.c.prompt_tokens + provider_calls.c.completion_tokens,
    ),
    else_=0,
)
UNDECIDED = provider_calls.c.delivery.in_((Delivery.OPEN, Delivery.RETRIED))
AT_ONCE = 100  # ended runs that one admission settles

_log = structlog.get_logger()


class SqlUsage:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, principal: Principal, calls: Sequence[ProviderCall]) -> None:
        """Write to the ledger. An open or retried call takes what is said of it later; a delivered or estimated one
        stays as it is."""
        if not calls:
            return
        async with self._database.write() as connection:
            await record(connection, principal, calls)

    async def drop(self, principal: Principal, op_id: str) -> None:
        """The provider refused the call: forget that it was opened."""
        async with self._database.write() as connection:
            await connection.execute(remove(principal, provider_calls).where(provider_calls.c.op_id == op_id, OPEN))

    async def settle(self, principal: Principal, workflow_id: str) -> int:
        """Move what the run really cost into the month and release its reservation; the tokens counted.

        Idempotent: every call counts once, the reservation is released once. A call that is still open was made by
        an attempt that died: it becomes `retried`.
        """
        async with self._database.write() as connection:
            return await settle(connection, principal, workflow_id)

    async def is_open(self, principal: Principal, workflow_id: str) -> bool:
        """A call of this run is being made, or its worker died."""
        query = pick(principal, provider_calls, provider_calls.c.op_id)
        query = query.where(provider_calls.c.workflow_id == workflow_id, OPEN).limit(1)
        async with self._database.read() as connection:
            return (await connection.execute(query)).first() is not None

    async def month(self, principal: Principal, month: str) -> Month:
        """Raises NotFound when there is no such account in the tenant."""
        account = pick(principal, accounts, accounts.c.token_limit).where(accounts.c.id == principal.account)
        counters = pick(principal, budgets, budgets.c.used, budgets.c.reserved).where(budgets.c.month == month)
        async with self._database.read() as connection:
            limit = (await connection.execute(account)).scalar_one_or_none()
            row = (await connection.execute(counters)).one_or_none()
            totals = (await connection.execute(_totals(principal, month))).all()
        if limit is None:
            raise NotFound
        used, reserved = (row.used, row.reserved) if row else (0, 0)
        return Month(principal.account, month, used, reserved, limit, tuple(map(_total, totals)))

    async def lines(self, principal: Principal, month: str, *, limit: int, cursor: str | None) -> Page[ProviderCall]:
        """The account's ledger of a month, newest first; calls that are being made are no lines yet."""
        query = pick(principal, provider_calls).where(provider_calls.c.month == month, ~OPEN)
        async with self._database.read() as connection:
            return await page(
                connection, query, provider_calls, _call, limit=limit, cursor=cursor, order=("at", "op_id")
            )


async def calls_of(
    connection: AsyncConnection, principal: Principal, workflow_id: str, limit: int
) -> list[ProviderCall]:
    """The calls of a run, in the order in which they were made; one that is being made is no line yet."""
    query = pick(principal, provider_calls).where(provider_calls.c.workflow_id == workflow_id, ~OPEN)
    rows = await connection.execute(query.order_by(provider_calls.c.at, provider_calls.c.op_id).limit(limit))
    return [_call(row) for row in rows]


async def record(connection: AsyncConnection, principal: Principal, calls: Sequence[ProviderCall]) -> None:
    """The same inside somebody else's transaction."""
    replaceable = and_(own(principal, provider_calls), UNDECIDED)
    written = []
    for call in calls:
        row = {**owner(principal, provider_calls), **_row(call)}
        if call.delivery is Delivery.OPEN:
            await add_missing(connection, provider_calls, [row])
        elif await put(connection, provider_calls.c.op_id, row, replaceable):
            written.append(call)
    after_commit(connection, partial(telemetry.count_calls, written))


async def settle(connection: AsyncConnection, principal: Principal, workflow_id: str) -> int:
    """The same inside somebody else's transaction."""
    released = await _release(connection, principal, workflow_id)
    await _give_up_open_calls(connection, principal, workflow_id)
    spent = await _settle_calls(connection, principal, workflow_id)
    for month, tokens in sorted(spent.items()):
        await budget.spend(connection, principal, month, tokens)
    if released and spent.total() > released:
        after_commit(connection, partial(_overshot, workflow_id, spent.total(), released))
    return spent.total()


def _overshot(workflow_id: str, tokens: int, reserved: int) -> None:
    telemetry.count_overshot(tokens - reserved)
    _log.warning("budget_overshot", run=workflow_id, tokens=tokens, reserved=reserved)


async def unsettled(connection: AsyncConnection, principal: Principal) -> list[tuple[Principal, str]]:
    """The tenant's runs that have ended and still hold a reservation, the oldest first."""
    ended = await connection.execute(_ended(principal))
    return [(Principal(principal.tenant, row.account_id), row.workflow_id) for row in ended]


async def settle_ended(connection: AsyncConnection, principal: Principal) -> int:
    """Settle those of them that nobody is settling at the moment; how many."""
    query = _ended(principal).with_for_update(skip_locked=True)  # who settles one may be waiting for our budgets
    ended = (await connection.execute(query)).all()
    for row in sorted(ended, key=lambda run: (run.account_id, run.reserved_month)):  # budgets: older months first
        await settle(connection, Principal(principal.tenant, row.account_id), row.workflow_id)
    return len(ended)


def _ended(principal: Principal) -> Select[Any]:
    return (
        select(commands.c.account_id, commands.c.reserved_month, commands.c.workflow_id)
        .where(commands.c.tenant_id == principal.tenant, *budget.ENDED)
        .order_by(commands.c.finished_at)
        .limit(AT_ONCE)
    )


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
        "cost": call.cost,
    }


def _call(row: Row[Any]) -> ProviderCall:
    return ProviderCall(
        op_id=row.op_id,
        workflow_id=row.workflow_id,
        purpose=Purpose(row.purpose),
        model=row.model,
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        delivery=Delivery(row.delivery),
        billable=row.billable,
        at=row.at,
        cost=row.cost,
    )


async def _release(connection: AsyncConnection, principal: Principal, workflow_id: str) -> int:
    """The tokens released. The command's row is locked first, so that two settlements of one run follow each other."""
    query = pick(principal, commands, commands.c.reserved, commands.c.reserved_month)
    query = query.where(commands.c.workflow_id == workflow_id).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    if row is None or not row.reserved:
        return 0
    update = change(principal, commands).where(commands.c.workflow_id == workflow_id)
    await connection.execute(update.values(reserved=0))
    await budget.release(connection, principal, row.reserved_month, row.reserved)
    return int(row.reserved)


async def _give_up_open_calls(connection: AsyncConnection, principal: Principal, workflow_id: str) -> None:
    """Their worker died: listed with what was known before the reply, and not counted into a month.

    If the run was cancelled, whoever makes the call may yet hear of it, and is in the counters by what it then says.
    """
    update = change(principal, provider_calls).where(provider_calls.c.workflow_id == workflow_id, OPEN)
    rows = await connection.execute(update.values(delivery=Delivery.RETRIED).returning(*provider_calls.c))
    given_up = [_call(row) for row in rows]
    if given_up and await _outcome(connection, principal, workflow_id) != State.CANCELLED:
        after_commit(connection, partial(telemetry.count_calls, given_up))


async def _outcome(connection: AsyncConnection, principal: Principal, workflow_id: str) -> str | None:
    query = pick(principal, commands, commands.c.outcome).where(commands.c.workflow_id == workflow_id)
    outcome: str | None = (await connection.execute(query)).scalar_one_or_none()
    return outcome


async def _settle_calls(connection: AsyncConnection, principal: Principal, workflow_id: str) -> Counter[str]:
    """Marks every call of the run and gives the tokens that count, by month."""
    update = (
        change(principal, provider_calls)
        .where(provider_calls.c.workflow_id == workflow_id, provider_calls.c.settled.is_(False))
        .values(settled=True)
        .returning(provider_calls.c.month, COUNTED_TOKENS.label("tokens"))
    )
    spent: Counter[str] = Counter()
    for row in await connection.execute(update):
        spent[row.month] += row.tokens
    return +spent  # months in which nothing counts are left alone


def _totals(principal: Principal, month: str) -> Select[Any]:
    calls = provider_calls.c
    group = (calls.purpose, calls.model, calls.billable)
    unpriced = func.sum(case((and_(calls.billable, calls.cost.is_(None)), 1), else_=0))
    return (
        pick(
            principal,
            provider_calls,
            *group,
            func.sum(calls.prompt_tokens + calls.completion_tokens).label("tokens"),
            func.count().label("calls"),
            func.sum(calls.cost).label("cost"),
            unpriced.label("unpriced"),
        )
        .where(calls.month == month, calls.delivery.in_(BILLED))
        .group_by(*group)
        .order_by(*group)
    )


def _total(row: Row[Any]) -> PurposeTotal:
    return PurposeTotal(
        purpose=Purpose(row.purpose),
        model=row.model,
        tokens=int(row.tokens),
        calls=row.calls,
        billable=row.billable,
        cost=None if row.cost is None else int(row.cost),
        unpriced=int(row.unpriced),
    )
