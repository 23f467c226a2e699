"""The registry of runs: what was admitted, where it stands still, and how it ended."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, Update, and_, case, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import Principal
from domain.load import Share
from domain.runs import FINAL, Command, Kind, Outcome, Page, Parked, Progress, Replay, State
from infra.sql.database import Database, one, utc_now
from infra.sql.encoding import command_of
from infra.sql.ownership import change, pick
from infra.sql.paging import page
from infra.sql.tables import commands, provider_calls, turns, versions

HELD = commands.c.reserved > 0
UNSETTLED = or_(
    HELD,
    exists().where(provider_calls.c.workflow_id == commands.c.workflow_id, provider_calls.c.settled.is_(False)),
)
OPEN_QUESTION = and_(commands.c.outcome.is_(None), commands.c.kind == Kind.CHAT)
NOT_PARKED = {"parked_step": None, "parked_code": None, "parked_at": None}
NOT_ENDED = {"outcome": None, "error_code": None, "error_step": None, "finished_at": None}


class SqlRuns:
    """RunRecords for a principal, and the sweeper's Registry over all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def command(self, principal: Principal, workflow_id: str) -> Command:
        query = pick(principal, commands).where(commands.c.workflow_id == workflow_id)
        async with self._database.read() as connection:
            row = await one(connection, query)
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
            query = query.where(_in_state(state))
        if since is not None:
            query = query.where(commands.c.created_at >= since)
        async with self._database.read() as connection:
            return await page(connection, query, commands, command_of, limit=limit, cursor=cursor)

    async def share(self, principal: Principal) -> Share:
        mine = func.count().filter(commands.c.tenant_id == principal.tenant)
        query = select(mine, func.count(commands.c.tenant_id.distinct()))
        async with self._database.read() as connection:
            row = (await connection.execute(query.where(OPEN_QUESTION))).one()
        return Share(*row)

    async def close(self, principal: Principal, workflow_id: str, outcome: Outcome) -> bool:
        """Write the outcome to the command and its subject, once: False when there already is one."""
        async with self._database.write() as connection:
            return await end(connection, principal, workflow_id, outcome)

    async def park(self, principal: Principal, workflow_id: str, step: str, code: str) -> bool:
        """The open run waits for somebody to decide; False when it has an outcome."""
        now = utc_now()
        where = {"parked_step": step, "parked_code": code, "parked_at": now, "updated_at": now}
        return await self._changed(_open(principal, workflow_id).values(**where))

    async def resume(self, principal: Principal, workflow_id: str, parked: Parked | None = None) -> bool:
        """It is parked no more; False when it was not. With `parked`, only if it still stands there since then."""
        since = commands.c.parked_at.is_not(None) if parked is None else commands.c.parked_at == parked.at
        update = _open(principal, workflow_id).where(since)
        return await self._changed(update.values(**NOT_PARKED, updated_at=utc_now()))

    async def reopen(self, principal: Principal, workflow_id: str, closed_run: str) -> bool:
        """Take back the outcome of a failed or cancelled ingestion, so that it can be replayed; once."""
        command = (
            change(principal, commands)
            .where(
                commands.c.workflow_id == workflow_id,
                commands.c.kind == Kind.INGESTION,
                commands.c.outcome.in_((State.FAILED, State.CANCELLED)),
            )
            .values(**NOT_ENDED, result={}, replayed_run=closed_run, updated_at=utc_now())
        )
        version = change(principal, versions).where(
            versions.c.workflow_id == workflow_id, versions.c.outcome.in_((State.FAILED, State.CANCELLED))
        )
        async with self._database.write() as connection:
            if (await connection.execute(command)).rowcount == 0:
                return False
            await connection.execute(version.values(**NOT_ENDED))
        return True

    async def replayable(self, principal: Principal, replay: Replay, limit: int, cursor: str | None) -> Page[Command]:
        """Newest first: ingestions that this replay is about and that were not set going since."""
        async with self._database.read() as connection:
            query = _replayable(principal, replay)
            return await page(connection, query, commands, command_of, limit=limit, cursor=cursor)

    async def note_progress(self, principal: Principal, workflow_id: str, progress: Progress) -> None:
        update = _open(principal, workflow_id).values(progress=asdict(progress), updated_at=utc_now())
        await self._changed(update)

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

    async def unsettled(self, older_than: timedelta, limit: int) -> list[Command]:
        """Commands that ended longer ago than this and still hold a reservation, or calls that were not counted."""
        query = (
            select(commands)
            .where(commands.c.finished_at < utc_now() - older_than, UNSETTLED)
            .order_by(commands.c.finished_at)
            .limit(limit)
        )
        async with self._database.read() as connection:
            return [command_of(row) for row in await connection.execute(query)]

    async def _changed(self, statement: Update) -> bool:
        async with self._database.write() as connection:
            return (await connection.execute(statement)).rowcount > 0


async def end(connection: AsyncConnection, principal: Principal, workflow_id: str, outcome: Outcome) -> bool:
    """The same inside somebody else's transaction."""
    row = await close(connection, principal, workflow_id, outcome)
    if row is not None:
        await _close_subject(connection, principal, row, outcome)
    return row is not None


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
            **NOT_PARKED,
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
    elif row.kind == Kind.INGESTION and outcome.state is not State.SUCCEEDED:  # `publish` alone makes a version ready
        version = change(principal, versions).where(
            versions.c.workflow_id == row.workflow_id, versions.c.outcome.is_(None)
        )
        ended = {"outcome": outcome.state, "error_code": outcome.error_code, "error_step": outcome.error_step}
        await connection.execute(version.values(**ended, finished_at=row.finished_at))


async def _look_at(connection: AsyncConnection, rows: Sequence[Row[Any]], now: datetime) -> None:
    if rows:
        seen = update(commands).where(commands.c.id.in_([row.id for row in rows]))
        await connection.execute(seen.values(looked_at=now))


def _open(principal: Principal, workflow_id: str) -> Update:
    return change(principal, commands).where(commands.c.workflow_id == workflow_id, commands.c.outcome.is_(None))


def _in_state(state: State) -> ColumnElement[bool]:
    """A state that only Temporal knows selects what is open and not parked."""
    if state in FINAL:
        return commands.c.outcome == state
    parked = commands.c.parked_at.is_not(None) if state is State.PARKED else commands.c.parked_at.is_(None)
    return and_(commands.c.outcome.is_(None), parked)


def _replayable(principal: Principal, replay: Replay) -> Select[Any]:
    stopped = case((commands.c.outcome.is_(None), commands.c.parked_at), else_=commands.c.finished_at)
    wanted = or_(*(_in_state(State(state)) for state in replay.states))
    query = pick(principal, commands).where(
        commands.c.kind == Kind.INGESTION, wanted, stopped < datetime.fromisoformat(replay.before)
    )
    return query if replay.since is None else query.where(stopped >= datetime.fromisoformat(replay.since))
