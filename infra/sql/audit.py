"""The audit log: lines are added, never changed. Each is also an event in the log of its process."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.audit import Entry, Event, Note
from domain.names import new_id
from infra.sql.database import Database, utc_now
from infra.sql.tables import audit

_log = structlog.get_logger()


class SqlAudit:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, note: Note) -> None:
        async with self._database.write() as connection:
            await write_down(connection, note)

    async def entries(self, *, tenant: str | None, since: datetime | None, limit: int) -> list[Entry]:
        query = select(audit).order_by(audit.c.at.desc(), audit.c.id.desc()).limit(limit)
        if tenant is not None:
            query = query.where(audit.c.tenant_id == tenant)
        if since is not None:
            query = query.where(audit.c.at >= since)
        async with self._database.read() as connection:
            rows: Sequence[Row[Any]] = (await connection.execute(query)).all()
        return [_entry(row) for row in rows]


async def write_down(connection: AsyncConnection, note: Note) -> None:
    """The same inside somebody else's transaction, as its last statement: logged is what is about to be committed."""
    row = {"tenant_id": note.tenant, "account_id": note.account, "event": note.event, "subject": note.subject}
    await connection.execute(insert(audit).values(id=new_id(), at=utc_now(), **row, facts=note.facts))
    _log.info(
        "audit", what=note.event, tenant=note.tenant, account=note.account, subject=note.subject, facts=note.facts
    )


def _entry(row: Row[Any]) -> Entry:
    return Entry(row.at, Note(Event(row.event), row.tenant_id, row.account_id, row.subject, row.facts))
