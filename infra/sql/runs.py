"""The registry of runs: what was admitted and how it ended."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, case, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import Principal
from domain.errors import NotFound
from domain.runs import FINAL, Command, Kind, Outcome, Page, State
from infra.sql.database import Database, utc_now
from infra.sql.encoding import command_of
from infra.sql.ownership import change, pick
from infra.sql.paging import page
from infra.sql.tables import commands, turns, versions


class SqlRuns:
    """RunRecords for a principal, and the sweeper's Registry over all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def command(self, principal: Principal, workflow_id: str) -> Command:
        query = pick(principal, commands).where(commands.c.workflow_id == workflow_id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise NotFound
        return command_of(row)

    async def commands(
        self,
        principal: Principal,
        *,
        kind: Kind | None = None,
        state: State | None = None,
        since: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Command]:
        """Newest first. `state` filters by outcome; a state that is not final selects open commands."""
        query = pick(principal, commands)
        if kind is not None:
            query = query.where(commands.c.kind == kind)
        if state is not None:
            query = query.where(commands.c.outcome == state if state in FINAL else commands.c.outcome.is_(None))
        if since is not None:
            query = query.where(commands.c.created_at >= since)
        async with self._database.read() as connection:
            return await page(connection, query, commands, command_of, limit=limit, cursor=cursor)

    async def close(self, principal: Principal, workflow_id: str, outcome: Outcome) -> bool:
        """Write the outcome to the command and its subject, once: False when there already is one."""
        async with self._database.write() as connection:
            row = await close(connection, principal, workflow_id, outcome)
            if row is not None:
                await _close_subject(connection, principal, row, outcome)
        return row is not None

    async def open_commands(self, older_than: timedelta, limit: int) -> list[Command]:
        """Commands without an outcome, those looked at longest ago first; being listed counts as being looked at."""
        now = utc_now()
        unseen_first = case((commands.c.looked_at.is_(None), 0), else_=1)
        query = (
            select(commands)
            .where(commands.c.outcome.is_(None), commands.c.created_at < now - older_than)
            .order_by(unseen_first, commands.c.looked_at, commands.c.created_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        async with self._database.write() as connection:
            rows = (await connection.execute(query)).all()
            await _look_at(connection, rows, now)
        return [command_of(row) for row in rows]


async def close(
    connection: AsyncConnection, principal: Principal, workflow_id: str, outcome: Outcome
) -> Row[Any] | None:
    """The command's part, inside a transaction: its row, or None when it has an outcome already or is absent."""
    now = utc_now()
    statement = (
        change(principal, commands)
        .where(commands.c.workflow_id == workflow_id, commands.c.outcome.is_(None))
        .values(
            outcome=outcome.state,
            error_code=outcome.error_code,
            error_step=outcome.error_step,
            result=outcome.result,
            updated_at=now,
            finished_at=now,
        )
        .returning(*commands.c)
    )
    return (await connection.execute(statement)).one_or_none()


async def _close_subject(connection: AsyncConnection, principal: Principal, row: Row[Any], outcome: Outcome) -> None:
    if row.kind == Kind.CHAT:
        turn = change(principal, turns).where(turns.c.workflow_id == row.workflow_id, turns.c.outcome.is_(None))
        await connection.execute(turn.values(outcome=outcome.state, error_code=outcome.error_code))
    elif outcome.state is not State.SUCCEEDED:  # `publish` alone makes a version ready
        version = change(principal, versions).where(
            versions.c.workflow_id == row.workflow_id, versions.c.outcome.is_(None)
        )
        ended = {"outcome": outcome.state, "error_code": outcome.error_code, "error_step": outcome.error_step}
        await connection.execute(version.values(**ended, finished_at=row.finished_at))


async def _look_at(connection: AsyncConnection, rows: Sequence[Row[Any]], now: datetime) -> None:
    if rows:
        seen = update(commands).where(commands.c.id.in_([row.id for row in rows]))
        await connection.execute(seen.values(looked_at=now))
