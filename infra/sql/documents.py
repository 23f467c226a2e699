"""Collections, documents and their versions: the truth that the search index is checked against."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, distinct, func, or_
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import Principal
from domain.documents import Collection, Document, Live, MediaType, Pending, Version
from domain.errors import NotFound
from domain.names import version_key
from domain.runs import FINAL, Outcome, Page, State
from infra.sql import runs
from infra.sql.database import Database, one, utc_now
from infra.sql.ownership import change, pick
from infra.sql.paging import page
from infra.sql.tables import collections, commands, documents, versions

READY = "ready"  # a version's outcome when it went live; the others are `failed` and `cancelled`

shown = versions.alias("shown")  # the live version, or the latest while none is live
pending = versions.alias("pending")  # the latest version, when it is not the live one


class SqlDocuments:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def collections(self, principal: Principal) -> list[Collection]:
        async with self._database.read() as connection:
            rows = await connection.execute(_collections(principal))
        return [_collection(row) for row in rows]

    async def collection(self, principal: Principal, name: str) -> Collection:
        query = _collections(principal).where(collections.c.name == name)
        return _collection(await self._one(query))

    async def generation(self, principal: Principal, collection_id: str) -> str:
        """Which generation its chunks belong to; empty before the first upload. Raises NotFound."""
        query = pick(principal, collections, collections.c.generation).where(collections.c.id == collection_id)
        generation: str = (await self._one(query)).generation
        return generation

    async def documents(
        self,
        principal: Principal,
        *,
        collection: str | None = None,
        state: State | str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Document]:
        """Newest first; `state` is `ready` or the state of a pending version (any that is not final: still open)."""
        query = _documents(principal)
        if collection is not None:
            query = query.where(collections.c.name == collection)
        if state is not None:
            query = query.where(_in_state(state))
        async with self._database.read() as connection:
            return await page(connection, query, documents, _document, limit=limit, cursor=cursor)

    async def document(self, principal: Principal, document_id: str) -> Document:
        return _document(await self._one(_documents(principal).where(documents.c.id == document_id)))

    async def require(self, principal: Principal, document_ids: Sequence[str]) -> None:
        async with self._database.read() as connection:
            await require(connection, principal, document_ids)

    async def version(self, principal: Principal, document_id: str, version: int) -> Version:
        query = pick(principal, versions).where(_is(document_id, version))
        row = await self._one(query)
        return Version(
            document_id=row.document_id,
            version=row.version,
            collection_id=row.collection_id,
            generation=row.generation,
            filename=row.filename,
            title=row.title,
            media_type=MediaType(row.media_type),
            metadata=row.metadata,
            outcome=row.outcome,
        )

    async def parsed(self, principal: Principal, document_id: str, version: int, *, pages: int | None) -> None:
        await self._change_version(principal, document_id, version, pages=pages)

    async def stage(self, principal: Principal, document_id: str, version: int) -> None:
        """From now on chunks of this version may be in the index, though it is not live."""
        await self._change_version(principal, document_id, version, staged=True)

    async def unstage(self, principal: Principal, document_id: str, version: int) -> None:
        """No chunk of this version is in the index any more; a live one stays as it is."""
        await self._change_version(principal, document_id, version, staged=False)

    async def publish(self, principal: Principal, document_id: str, version: int, *, chunks: int) -> bool:
        """One transaction makes this version live and closes its command. False when it has an outcome already."""
        async with self._database.write() as connection:
            row = await _make_ready(connection, principal, document_id, version, chunks)
            if row is None:
                return False
            live = change(principal, documents).where(documents.c.id == document_id)
            await connection.execute(live.values(live_version=version, updated_at=row.finished_at))
            succeeded = Outcome(State.SUCCEEDED, result={"chunks": chunks, "pages": row.pages})
            await runs.close(connection, principal, row.workflow_id, succeeded)
        return True

    async def staged(self, principal: Principal, collection_id: str, limit: int) -> list[str]:
        """Version keys of the collection that may be in the index without being live."""
        query = (
            pick(principal, versions, versions.c.document_id, versions.c.version)
            .where(versions.c.collection_id == collection_id, versions.c.staged)
            .limit(limit)
        )
        async with self._database.read() as connection:
            rows = await connection.execute(query)
        return [version_key(row.document_id, row.version) for row in rows]

    async def live(self, principal: Principal, document_ids: Sequence[str]) -> dict[str, Live]:
        """The live versions among these documents; a document without one is missing."""
        query = (
            pick(
                principal, documents, versions.c.document_id, versions.c.version, versions.c.filename, versions.c.title
            )
            .join(versions, _is_live(versions))
            .where(documents.c.id.in_(document_ids))
        )
        async with self._database.read() as connection:
            rows = await connection.execute(query)
        return {row.document_id: Live(row.version, row.filename, row.title) for row in rows}

    async def _one(self, query: Select[Any]) -> Row[Any]:
        async with self._database.read() as connection:
            return await one(connection, query)

    async def _change_version(self, principal: Principal, document_id: str, version: int, **values: Any) -> None:
        """A version that is ready stays as it is; a failed one may still be told what is left of it."""
        unpublished = or_(versions.c.outcome.is_(None), versions.c.outcome != READY)
        statement = change(principal, versions).where(_is(document_id, version), unpublished).values(**values)
        async with self._database.write() as connection:
            await connection.execute(statement)


async def require(connection: AsyncConnection, principal: Principal, document_ids: Sequence[str]) -> None:
    """Raises NotFound unless every one of them is the tenant's."""
    if not document_ids:
        return
    query = pick(principal, documents, func.count()).where(documents.c.id.in_(document_ids))
    if (await connection.execute(query)).scalar_one() < len(set(document_ids)):
        raise NotFound


async def _make_ready(
    connection: AsyncConnection, principal: Principal, document_id: str, version: int, chunks: int
) -> Row[Any] | None:
    statement = (
        change(principal, versions)
        .where(_is(document_id, version), versions.c.outcome.is_(None))
        .values(outcome=READY, staged=False, chunks=chunks, finished_at=utc_now())
        .returning(versions.c.workflow_id, versions.c.pages, versions.c.finished_at)
    )
    return (await connection.execute(statement)).one_or_none()


# --- queries --------------------------------------------------------------------------------------------------


def _is(document_id: str, version: int) -> ColumnElement[bool]:
    return and_(versions.c.document_id == document_id, versions.c.version == version)


def _is_live(table: Any) -> ColumnElement[bool]:
    return and_(table.c.document_id == documents.c.id, table.c.version == documents.c.live_version)


def _collections(principal: Principal) -> Select[Any]:
    """With counts over live versions."""
    return (
        pick(
            principal,
            collections,
            collections,
            func.count(distinct(versions.c.document_id)).label("documents"),
            func.coalesce(func.sum(versions.c.chunks), 0).label("chunks"),
        )
        .outerjoin(documents, documents.c.collection_id == collections.c.id)
        .outerjoin(versions, _is_live(versions))
        .group_by(collections.c.id)
        .order_by(collections.c.created_at, collections.c.id)
    )


def _documents(principal: Principal) -> Select[Any]:
    visible = func.coalesce(documents.c.live_version, documents.c.latest_version)
    not_live = or_(documents.c.live_version.is_(None), documents.c.live_version != documents.c.latest_version)
    latest = and_(pending.c.document_id == documents.c.id, pending.c.version == documents.c.latest_version)
    return (
        pick(
            principal,
            documents,
            documents,
            *(shown.c[name] for name in ("filename", "title", "media_type", "size", "sha256", "chunks", "pages")),
            shown.c.metadata.label("attributes"),
            collections.c.name.label("collection"),
            pending.c.version.label("pending_version"),
            pending.c.outcome.label("pending_outcome"),
            pending.c.workflow_id.label("pending_run"),
            commands.c.parked_at,
        )
        .join(collections, collections.c.id == documents.c.collection_id)
        .join(shown, and_(shown.c.document_id == documents.c.id, shown.c.version == visible))
        .outerjoin(pending, and_(latest, not_live))
        .outerjoin(commands, commands.c.workflow_id == pending.c.workflow_id)
    )


def _in_state(state: State | str) -> ColumnElement[bool]:
    if state in {READY, State.SUCCEEDED}:
        return documents.c.live_version.is_not(None)
    if state in FINAL:
        return and_(documents.c.live_version.is_(None), pending.c.outcome == state)
    parked = commands.c.parked_at.is_not(None) if state == State.PARKED else commands.c.parked_at.is_(None)
    return and_(documents.c.live_version.is_(None), pending.c.outcome.is_(None), parked)


# --- rows -----------------------------------------------------------------------------------------------------


def _collection(row: Row[Any]) -> Collection:
    return Collection(
        collection_id=row.id,
        name=row.name,
        description=row.description,
        generation=row.generation,
        documents=row.documents,
        chunks=int(row.chunks),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _document(row: Row[Any]) -> Document:
    return Document(
        document_id=row.id,
        collection=row.collection,
        filename=row.filename,
        title=row.title,
        media_type=MediaType(row.media_type),
        size=row.size,
        sha256=row.sha256,
        version=row.live_version,
        pending=_pending(row),
        chunks=row.chunks,
        pages=row.pages,
        metadata=row.attributes,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _pending(row: Row[Any]) -> Pending | None:
    if row.pending_version is None:
        return None
    going = State.RUNNING if row.parked_at is None else State.PARKED
    state = going if row.pending_outcome is None else State(row.pending_outcome)
    return Pending(row.pending_version, state, row.pending_run)
