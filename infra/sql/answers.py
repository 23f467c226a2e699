"""Answers looked back on: from what and how each was made, how it was liked, and what was said, for an export."""

from typing import Any

from sqlalchemy import Row, Select
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import Principal
from domain.answers import AnswerRecord, Earlier, Feedback, Rating, Rerunning, cost_of
from domain.chat import AsOf, TranscriptEntry, Turn
from domain.errors import NotFound
from domain.runs import Page
from infra.sql.database import Database, one, utc_now
from infra.sql.encoding import candidates_of, finish_of, sources_of, state_of, turn_of
from infra.sql.ownership import change, pick
from infra.sql.tables import collections, documents, turns
from infra.sql.usage import calls_of

MOST_CALLS = 100  # of a run: more attempts than any step has
MOST_RERUNS = 20  # that a record lists, the newest
EXCHANGE = (  # without the passages, which are long
    "seq",
    "workflow_id",
    "question",
    "asked_at",
    "outcome",
    "answer",
    "answered_at",
    "finish",
    "model_used",
    "sources",
)


class SqlAnswers:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, principal: Principal, workflow_id: str) -> AnswerRecord:
        """Raises NotFound."""
        async with self._database.read() as connection:
            row = await one(connection, _turn(principal, workflow_id))
            turn = turn_of(row)
            return AnswerRecord(
                turn=turn,
                collection=await _collection(connection, principal, turn),
                candidates=candidates_of(row.candidates),
                prompt_digest=row.prompt_digest or "",
                prompts=row.prompts,
                calls=tuple(await calls_of(connection, principal, workflow_id, MOST_CALLS)),
                gone=await _gone(connection, principal, turn),
                feedback=_feedback(row),
                reruns=await _reruns(connection, principal, workflow_id),
                earlier=await _earlier(connection, principal, turn),
            )

    async def rate(self, principal: Principal, workflow_id: str, rating: Rating, comment: str | None) -> None:
        """The last one counts. Raises NotFound."""
        update = change(principal, turns).where(turns.c.workflow_id == workflow_id)
        async with self._database.write() as connection:
            liked = update.values(rating=rating, comment=comment, rated_at=utc_now())
            if (await connection.execute(liked)).rowcount == 0:
                raise NotFound

    async def exchanges(
        self, principal: Principal, conversation_id: str, *, limit: int, cursor: str | None
    ) -> Page[TranscriptEntry]:
        """In the order in which they were asked. Raises NotFound, also where they were deleted between two pages."""
        query = (
            pick(principal, turns, *(turns.c[name] for name in EXCHANGE))
            .where(turns.c.conversation_id == conversation_id, turns.c.seq > int(cursor or 0))
            .order_by(turns.c.seq)
            .limit(limit + 1)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        if not rows:
            raise NotFound
        more = str(rows[limit - 1].seq) if len(rows) > limit else None
        return Page([_entry(row) for row in rows[:limit]], more)


def _turn(principal: Principal, workflow_id: str) -> Select[Any]:
    return pick(principal, turns).where(turns.c.workflow_id == workflow_id)


async def _collection(connection: AsyncConnection, principal: Principal, turn: Turn) -> str | None:
    """Its name, as long as it is there."""
    if turn.collection_id is None:
        return None
    query = pick(principal, collections, collections.c.name).where(collections.c.id == turn.collection_id)
    name: str | None = (await connection.execute(query)).scalar_one_or_none()
    return name


async def _gone(connection: AsyncConnection, principal: Principal, turn: Turn) -> frozenset[tuple[str, int]]:
    used = {(passage.hit.document_id, passage.hit.version) for passage in turn.passages}
    if not used:
        return frozenset()
    ids = sorted({document_id for document_id, _ in used})
    query = pick(principal, documents, documents.c.id, documents.c.live_version).where(documents.c.id.in_(ids))
    live = {(row.id, row.live_version) for row in await connection.execute(query)}
    return frozenset(used - live)


async def _reruns(connection: AsyncConnection, principal: Principal, workflow_id: str) -> tuple[Rerunning, ...]:
    """The newest, newest first."""
    columns = ("workflow_id", "as_of", "model", "model_used", "outcome", "asked_at")
    query = pick(principal, turns, *(turns.c[name] for name in columns)).where(turns.c.rerun_of == workflow_id)
    rows = await connection.execute(query.order_by(turns.c.asked_at.desc()).limit(MOST_RERUNS))
    return tuple(_rerunning(row) for row in rows)


async def _earlier(connection: AsyncConnection, principal: Principal, turn: Turn) -> Earlier | None:
    if turn.rerun_of is None:
        return None
    row = (await connection.execute(_turn(principal, turn.rerun_of))).one_or_none()
    if row is None:
        return None
    return Earlier(turn_of(row), cost_of(await calls_of(connection, principal, row.workflow_id, MOST_CALLS)))


def _feedback(row: Row[Any]) -> Feedback | None:
    return None if row.rating is None else Feedback(Rating(row.rating), row.comment, row.rated_at)


def _rerunning(row: Row[Any]) -> Rerunning:
    return Rerunning(
        workflow_id=row.workflow_id,
        as_of=AsOf(row.as_of),
        model=row.model,
        model_used=row.model_used,
        outcome=state_of(row.outcome),
        asked_at=row.asked_at,
    )


def _entry(row: Row[Any]) -> TranscriptEntry:
    return TranscriptEntry(
        workflow_id=row.workflow_id,
        question=row.question,
        asked_at=row.asked_at,
        outcome=state_of(row.outcome),
        answer=row.answer,
        answered_at=row.answered_at,
        finish=finish_of(row.finish),
        model_used=row.model_used,
        sources=sources_of(row.sources),
    )
