"""The ledger beside what is derived from it; the operator's view of a tenant."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, case, func, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import Principal
from domain.ledger import AnsweredTurn, ClosedRun, MonthSums, OpenCall
from domain.runs import Page, State
from domain.usage import BILLED, Delivery, Purpose
from infra.sql import budgets as budget
from infra.sql.database import Database
from infra.sql.ownership import change
from infra.sql.paging import page
from infra.sql.runs import HELD, UNSETTLED
from infra.sql.tables import accounts, budgets, commands, provider_calls, turns
from infra.sql.usage import COUNTED_TOKENS, OPEN

CALLS = provider_calls.c


class SqlLedger:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def closed(
        self, principal: Principal, before: datetime, *, limit: int, cursor: str | None
    ) -> Page[ClosedRun]:
        ended = and_(
            commands.c.tenant_id == principal.tenant, commands.c.outcome.is_not(None), commands.c.finished_at < before
        )
        async with self._database.read() as connection:
            return await page(connection, _runs().where(ended), commands, _closed, limit=limit, cursor=cursor)

    async def open_calls(
        self, principal: Principal, before: datetime, *, limit: int, cursor: str | None
    ) -> Page[OpenCall]:
        query = (
            select(CALLS.op_id, CALLS.at, CALLS.account_id)
            .outerjoin_from(provider_calls, commands, commands.c.workflow_id == CALLS.workflow_id)
            .where(CALLS.tenant_id == principal.tenant, OPEN, CALLS.at < before)
            .where(or_(commands.c.id.is_(None), commands.c.outcome.is_not(None)))
        )
        order = ("at", "op_id")
        async with self._database.read() as connection:
            return await page(connection, query, provider_calls, _open_call, limit=limit, cursor=cursor, order=order)

    async def months(self, principal: Principal, *, limit: int, cursor: str | None) -> Page[MonthSums]:
        """A statement for each month, so that none goes through more lines than a month has."""
        places = await self._places(principal, cursor, limit)
        found = []
        for account, month in places:
            async with self._database.read() as connection:
                found.append(await _sums(connection, replace(principal, account=account), month))
        return Page(found, " ".join(places[-1]) if len(places) == limit else None)

    async def give_up(self, principal: Principal, account: str, op_id: str) -> None:
        update = change(replace(principal, account=account), provider_calls).where(CALLS.op_id == op_id, OPEN)
        async with self._database.write() as connection:
            await connection.execute(update.values(delivery=Delivery.RETRIED, settled=True))

    async def rebuild(self, principal: Principal, account: str, month: str) -> None:
        """The row is held before the sums are made: they then know of whoever changed it before, and whoever comes
        later changes what is written here."""
        mine = replace(principal, account=account)
        async with self._database.write() as connection:
            await budget.hold_tenant(connection, mine)
            await budget.hold(connection, mine, month)
            sums = await _sums(connection, mine, month)
            update = change(mine, budgets).where(budgets.c.month == month)
            await connection.execute(update.values(used=sums.counted, reserved=sums.promised))

    async def _places(self, principal: Principal, cursor: str | None, limit: int) -> list[tuple[str, str]]:
        """The accounts and months after the cursor, each found in the indexes: the lines are not gone through."""
        account, month = cursor.split() if cursor else ("", "")
        places: list[tuple[str, str]] = []
        while len(places) < limit:
            following = await self._first(_months_after(principal, account, month)) if account else None
            if following is not None:
                month = following
                places.append((account, month))
                continue
            another = await self._first(_accounts_after(principal, account))
            if another is None:
                break
            account, month = another, ""
        return places

    async def _first(self, query: Select[Any]) -> str | None:
        async with self._database.read() as connection:
            first: str | None = (await connection.execute(query)).scalar_one()
        return first


def _accounts_after(principal: Principal, account: str) -> Select[Any]:
    return select(func.min(accounts.c.id)).where(accounts.c.tenant_id == principal.tenant, accounts.c.id > account)


def _months_after(principal: Principal, account: str, month: str) -> Select[Any]:
    columns = (budgets.c.month, provider_calls.c.month, commands.c.reserved_month)
    firsts = [
        select(func.min(column).label("month")).where(
            column.table.c.tenant_id == principal.tenant, column.table.c.account_id == account, column > month
        )
        for column in columns
    ]
    firsts[-1] = firsts[-1].where(HELD)
    return select(func.min(union_all(*firsts).subquery().c.month))


async def _sums(connection: AsyncConnection, principal: Principal, month: str) -> MonthSums:
    def of(column: Any) -> ColumnElement[bool]:
        table = column.table
        whose = and_(table.c.tenant_id == principal.tenant, table.c.account_id == principal.account)
        return and_(whose, column == month)

    row = of(budgets.c.month)
    tokens = case((CALLS.settled, COUNTED_TOKENS), else_=0)
    query = select(
        select(_sum(budgets.c.used)).where(row).scalar_subquery().label("used"),
        select(_sum(budgets.c.reserved)).where(row).scalar_subquery().label("reserved"),
        select(_sum(commands.c.reserved))
        .where(of(commands.c.reserved_month), HELD)
        .scalar_subquery()
        .label("promised"),
        _sum(tokens).label("counted"),
        func.count().label("calls"),
    ).where(of(CALLS.month))
    sums = {name: int(number) for name, number in (await connection.execute(query)).one()._mapping.items()}
    return MonthSums(account=principal.account, month=month, **sums)


def _sum(what: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(what), 0)


def _runs() -> Select[Any]:
    """Commands of every account, whether they are settled, and how a turn and its call say what was answered."""
    calls = CALLS.workflow_id == commands.c.workflow_id
    answers = and_(calls, CALLS.purpose == Purpose.CHAT, CALLS.delivery.in_(BILLED))

    def called(what: ColumnElement[Any], name: str) -> ColumnElement[Any]:
        return select(what).where(answers).correlate(commands).scalar_subquery().label(name)

    return select(
        *(commands.c[name] for name in ("id", "created_at", "workflow_id", "account_id")),
        UNSETTLED.label("unsettled"),
        turns.c.prompt_tokens.label("prompt"),
        turns.c.completion_tokens.label("completion"),
        called(func.count(), "calls"),
        called(_sum(CALLS.prompt_tokens), "called_prompt"),
        called(_sum(CALLS.completion_tokens), "called_completion"),
    ).outerjoin_from(
        commands, turns, and_(turns.c.workflow_id == commands.c.workflow_id, turns.c.outcome == State.SUCCEEDED)
    )


def _closed(row: Row[Any]) -> ClosedRun:
    return ClosedRun(row.workflow_id, row.account_id, settled=not row.unsettled, turn=_turn(row))


def _turn(row: Row[Any]) -> AnsweredTurn | None:
    """None of a run that is no answered turn, or one that was forgotten."""
    if row.prompt is None:
        return None
    called = (row.calls, int(row.called_prompt), int(row.called_completion))
    return AnsweredTurn(row.prompt, row.completion, *called)


def _open_call(row: Row[Any]) -> OpenCall:
    return OpenCall(row.op_id, row.account_id)
