"""What the database promises, listed for comparing it with the other stores; the operator's view."""

from collections.abc import Sequence, Set
from typing import Any

from sqlalchemy import Row, and_, select, union

from domain.accounts import Principal
from domain.names import version_key
from domain.reconcile import LiveVersion, Standing
from domain.runs import Page
from infra.sql.database import Database
from infra.sql.ownership import pick
from infra.sql.paging import page
from infra.sql.tables import collections, commands, documents, tenants, versions


class SqlInventory:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def tenants(self, after: str, limit: int) -> list[str]:
        query = select(tenants.c.id).where(tenants.c.id > after).order_by(tenants.c.id).limit(limit)
        async with self._database.read() as connection:
            return list((await connection.execute(query)).scalars())

    async def generations(self, principal: Principal) -> list[str]:
        named = [pick(principal, table, table.c.generation) for table in (collections, versions)]
        async with self._database.read() as connection:
            found = (await connection.execute(union(*named))).scalars()
        return sorted(name for name in found if name)

    async def live(self, principal: Principal, *, limit: int, cursor: str | None) -> Page[LiveVersion]:
        query = pick(
            principal,
            documents,
            documents.c.id,
            documents.c.created_at,
            *(versions.c[name] for name in ("version", "generation", "chunks")),
        ).join(versions, and_(versions.c.document_id == documents.c.id, versions.c.version == documents.c.live_version))
        async with self._database.read() as connection:
            return await page(connection, query, documents, _live, limit=limit, cursor=cursor)

    async def standings(self, principal: Principal, version_keys: Set[str]) -> dict[str, Standing]:
        query = (
            pick(
                principal,
                versions,
                *(versions.c[name] for name in ("document_id", "version", "workflow_id", "outcome", "finished_at")),
                documents.c.live_version,
                documents.c.updated_at,
                commands.c.id.label("command"),
                commands.c.outcome.label("run_outcome"),
                commands.c.finished_at.label("run_finished_at"),
            )
            .join(documents, documents.c.id == versions.c.document_id)
            .outerjoin(commands, commands.c.workflow_id == versions.c.workflow_id)
            .where(versions.c.document_id.in_({key.partition(":")[0] for key in version_keys}))
        )
        async with self._database.read() as connection:
            rows: Sequence[Row[Any]] = (await connection.execute(query)).all()
        standings = {version_key(row.document_id, row.version): _standing(row) for row in rows}
        return {key: standings[key] for key in version_keys if key in standings}


def _live(row: Row[Any]) -> LiveVersion:
    return LiveVersion(version_key(row.id, row.version), row.generation, row.chunks)


def _standing(row: Row[Any]) -> Standing:
    """A run that was opened again counts as open, whatever the version's row still says."""
    is_open = row.outcome is None or (row.command is not None and row.run_outcome is None)
    moments = [moment for moment in (row.finished_at, row.run_finished_at, row.updated_at) if moment is not None]
    return Standing(row.version == row.live_version, row.workflow_id, None if is_open else max(moments))
