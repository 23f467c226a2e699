"""Admission: the command, its subject and its reservation in one transaction, or nothing at all."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy.ext.asyncio import AsyncConnection

from domain import names
from domain.accounts import Principal
from domain.answers import Rerun
from domain.chat import Ask, Place
from domain.documents import OnDuplicate, Upload
from domain.errors import DimensionMismatch, DuplicateDocument, IdempotencyKeyReused, NotFound, QuotaExhausted
from domain.runs import Command, Kind, State
from domain.search import Generation
from domain.usage import TURNS_END, Room, month_of, next_month, reservation
from domain.window import HISTORY_TOKENS, TURNS, Earlier, Sizes, foreseen
from infra.sql.budgets import reserve, room
from infra.sql.chat import begin
from infra.sql.database import Collision, Database, utc_now
from infra.sql.documents import require
from infra.sql.encoding import command_of, turn_of
from infra.sql.ownership import add, change, pick
from infra.sql.reruns import conversation_beside, kept, origin_of, original
from infra.sql.tables import collections, commands, conversations, documents, turns, versions
from infra.sql.usage import settle, settle_ended, unsettled

ROUNDS = 3  # in which more turns may end while those before them are settled

Admitted = TypeVar("Admitted")


class SqlAdmissions:
    """`history_tokens`: of a turn's window; the workers must have the same."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime] = utc_now,
        *,
        history_tokens: int = HISTORY_TOKENS,
    ) -> None:
        self._database = database
        self._clock = clock
        self._history_tokens = history_tokens

    async def known(self, principal: Principal, key: str, digest: str) -> Command | None:
        """What was admitted with this key. Raises IdempotencyKeyReused."""
        async with self._database.read() as connection:
            return await _known(connection, principal, key, digest)

    async def admit_turn(self, principal: Principal, ask: Ask, key: str | None, digest: str) -> Command:
        """Raises NotFound (conversation, collection or a document), QuotaExhausted, IdempotencyKeyReused."""
        return await self._with_room(principal, lambda: self._admit_turn(principal, ask, key, digest))

    async def admit_rerun(self, principal: Principal, rerun: Rerun, key: str | None, digest: str) -> Command:
        """Raises NotFound, what `Rerun.ask` raises, QuotaExhausted, IdempotencyKeyReused."""
        return await self._with_room(principal, lambda: self._admit_rerun(principal, rerun, key, digest))

    async def _with_room(self, principal: Principal, admit: Callable[[], Awaitable[Command]]) -> Command:
        """Nobody is refused because of a turn that is over: such turns are settled first, in transactions of their own,
        so that nothing is taken back when there is no room all the same."""
        rounds = 0
        while True:
            try:
                return await _again_after_a_race(admit)
            except _NoRoom as found:
                rounds += 1
                if not found.provisional or rounds == ROUNDS:
                    raise found.refusal from None
            await self._settle_ended(principal)

    async def admit_upload(
        self, principal: Principal, upload: Upload, generation: Generation, key: str | None, digest: str
    ) -> tuple[Command | None, str]:
        """(command, document id); no command when the collection already holds the same bytes in a document.

        Raises DuplicateDocument when `on_duplicate` says so, DimensionMismatch, IdempotencyKeyReused.
        """
        return await _again_after_a_race(lambda: self._admit_upload(principal, upload, generation, key, digest))

    async def admit_replay(
        self, principal: Principal, states: Sequence[State], since: datetime | None, key: str | None, digest: str
    ) -> Command:
        """A run that replays every ingestion of the tenant in one of these states. Raises IdempotencyKeyReused."""
        return await _again_after_a_race(lambda: self._admit_replay(principal, states, since, key, digest))

    async def _settle_ended(self, principal: Principal) -> None:
        """Settlements under way are waited for one after the other: who holds one while waiting for the next may wait
        for ever."""
        async with self._database.write() as connection:
            if await settle_ended(connection, principal):
                return
        async with self._database.read() as connection:
            ended = await unsettled(connection, principal)
        for who, workflow_id in ended:
            async with self._database.write() as connection:
                await settle(connection, who, workflow_id)

    async def _admit_replay(
        self, principal: Principal, states: Sequence[State], since: datetime | None, key: str | None, digest: str
    ) -> Command:
        async with self._database.write() as connection:
            known = await _known(connection, principal, key, digest)
            if known is not None:
                return known
            now, nonce = self._clock(), names.new_id()
            parameters = {
                "nonce": nonce,
                "states": list(states),
                "before": now.isoformat(),
                "since": since.isoformat() if since else None,
            }
            workflow_id = names.replay_run(principal.tenant, nonce)
            promise = {"idempotency_key": key, "digest": digest, "reserved": 0, "parameters": parameters}
            return await _promise(connection, principal, Kind.REPLAY, workflow_id, now, **promise)

    async def _admit_turn(self, principal: Principal, ask: Ask, key: str | None, digest: str) -> Command:
        async with self._database.write() as connection:
            known = await _known(connection, principal, key, digest)
            if known is not None:
                return known
            now = self._clock()
            collection_id = await _searched(connection, principal, ask)
            await require(connection, principal, ask.document_ids)
            conversation_id, seq = await _next_turn(connection, principal, ask, now)
            reserved = await self._reserve(connection, principal, ask, Place(conversation_id, seq), now)
            turn = {"conversation_id": conversation_id, "seq": seq, "collection_id": collection_id}
            promise = {"idempotency_key": key, "digest": digest, "reserved": reserved}
            return await _promise_turn(connection, principal, ask, turn, promise, now)

    async def _admit_rerun(self, principal: Principal, rerun: Rerun, key: str | None, digest: str) -> Command:
        async with self._database.write() as connection:
            known = await _known(connection, principal, key, digest)
            if known is not None:
                return known
            now = self._clock()
            row = await original(connection, principal, rerun)
            ask = rerun.ask(turn_of(row), row.question_tokens)
            conversation_id = await conversation_beside(connection, principal, row, now)
            reserved = await self._reserve(connection, principal, ask, origin_of(row), now)
            turn = {"conversation_id": conversation_id, "seq": 1, **kept(rerun, row)}
            promise = {"idempotency_key": key, "digest": digest, "reserved": reserved}
            return await _promise_turn(connection, principal, ask, turn, promise, now)

    async def _admit_upload(
        self, principal: Principal, upload: Upload, generation: Generation, key: str | None, digest: str
    ) -> tuple[Command | None, str]:
        async with self._database.write() as connection:
            known = await _known(connection, principal, key, digest)
            if known is not None:
                return known, known.document_id or ""
            now = self._clock()
            collection_id = await _filled(connection, principal, upload.collection, now)
            twin = await _twin(connection, principal, collection_id, upload)
            if twin is not None:
                return None, twin
            await _settle_generation(connection, principal, collection_id, generation, now)
            workflow_id = names.ingest_run(principal.tenant, upload.document_id, 1)
            place = {"collection_id": collection_id, "created_at": now}
            document = {"id": upload.document_id, "latest_version": 1, "updated_at": now, **place}
            await connection.execute(add(principal, documents, **document))
            version = {"document_id": upload.document_id, "version": 1}
            how = {"generation": generation.name, "workflow_id": workflow_id}
            await connection.execute(add(principal, versions, **version, **place, **how, **_file(upload)))
            promise = {"idempotency_key": key, "digest": digest, "reserved": 0}
            command = await _promise(connection, principal, Kind.INGESTION, workflow_id, now, **version, **promise)
            return command, upload.document_id

    async def _reserve(
        self, connection: AsyncConnection, principal: Principal, ask: Ask, place: Place, now: datetime
    ) -> int:
        """Tokens reserved for a turn that sees what was said before that place."""
        if not ask.billable:
            return 0
        behind = await self._behind(connection, principal, place) if place.seq > 1 else Sizes()
        return await _reserved(connection, principal, ask, behind, now)

    async def _behind(self, connection: AsyncConnection, principal: Principal, place: Place) -> Sizes:
        """What a turn will see of the conversation, and the summary that it may have to make first."""
        newest = (
            pick(principal, turns, turns.c.seq, turns.c.question_tokens, turns.c.answer_tokens, turns.c.outcome)
            .where(
                turns.c.conversation_id == place.conversation_id,
                turns.c.seq < place.seq,
                or_(turns.c.outcome.is_(None), turns.c.answer.is_not(None)),
            )
            .order_by(turns.c.seq.desc())
            .limit(TURNS + 1)
        )
        summary = pick(principal, conversations, conversations.c.summary_until)
        rows = (await connection.execute(newest)).all()
        until = (await connection.execute(summary.where(conversations.c.id == place.conversation_id))).scalar_one()
        earlier = [Earlier(row.seq, row.question_tokens, row.answer_tokens, row.outcome is None) for row in rows]
        return foreseen(earlier, until or 0, self._history_tokens)


async def _again_after_a_race(admit: Callable[[], Awaitable[Admitted]]) -> Admitted:
    """Where two writers run at once, the loser of a race for a key or a new name finds the winner's row."""
    try:
        return await admit()
    except Collision:
        return await admit()


# --- both -----------------------------------------------------------------------------------------------------


async def _known(connection: AsyncConnection, principal: Principal, key: str | None, digest: str) -> Command | None:
    if key is None:
        return None
    query = pick(principal, commands).where(
        commands.c.account_id == principal.account, commands.c.idempotency_key == key
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    if row.digest != digest:
        raise IdempotencyKeyReused
    return command_of(row)


async def _promise(
    connection: AsyncConnection, principal: Principal, kind: Kind, workflow_id: str, now: datetime, **values: Any
) -> Command:
    row = {"id": names.new_id(), "kind": kind, "workflow_id": workflow_id, "result": {}}
    insert = add(principal, commands, **row, created_at=now, updated_at=now, **values)
    return command_of((await connection.execute(insert.returning(*commands.c))).one())


# --- a turn ---------------------------------------------------------------------------------------------------


class _NoRoom(Exception):
    """`provisional`: turns that are over still hold tokens, or some have just been released."""

    def __init__(self, refusal: QuotaExhausted, *, provisional: bool) -> None:
        super().__init__(refusal)
        self.refusal = refusal
        self.provisional = provisional


NOT_ANSWERED = {
    "candidates": [],
    "passages": [],
    "prompts": {},
    "relevant": False,
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "estimated": False,
    "answer_tokens": 0,
    "sources": [],
    "timings": {},
    "flags": [],
}


def _question(ask: Ask) -> dict[str, Any]:
    return {
        "question": ask.message,
        "question_tokens": ask.question_tokens,
        "model": ask.model,
        "temperature": ask.temperature,
        "max_tokens": ask.max_tokens,
        "use_rag": ask.use_rag,
        "document_ids": list(ask.document_ids),
        "filters": ask.filters,
        "k": ask.k,
    }


async def _promise_turn(
    connection: AsyncConnection,
    principal: Principal,
    ask: Ask,
    turn: dict[str, Any],
    promise: dict[str, Any],
    now: datetime,
) -> Command:
    """The turn's row and its command; `turn` says where it stands and what is known of it already."""
    place = {"conversation_id": turn["conversation_id"], "seq": turn["seq"]}
    workflow_id = names.chat_run(principal.tenant, turn["conversation_id"], turn["seq"])
    row = {**NOT_ANSWERED, **_question(ask), **turn, "workflow_id": workflow_id, "asked_at": now}
    await connection.execute(add(principal, turns, **row))
    month = month_of(now) if promise["reserved"] else None
    return await _promise(connection, principal, Kind.CHAT, workflow_id, now, **place, **promise, reserved_month=month)


async def _searched(connection: AsyncConnection, principal: Principal, ask: Ask) -> str | None:
    """The collection that is searched; none without retrieval."""
    if not ask.use_rag:
        return None
    query = pick(principal, collections, collections.c.id).where(collections.c.name == ask.collection)
    collection_id: str | None = (await connection.execute(query)).scalar_one_or_none()
    if collection_id is None:
        raise NotFound
    return collection_id


async def _next_turn(connection: AsyncConnection, principal: Principal, ask: Ask, now: datetime) -> tuple[str, int]:
    """Conversation and seq; the update holds the conversation's row, so that seqs have neither gaps nor twins."""
    if ask.conversation_id is None:
        return await begin(connection, principal, ask.message, now), 1
    count = (
        change(principal, conversations)
        .where(conversations.c.id == ask.conversation_id, conversations.c.origin_id.is_(None))  # a rerun stays alone
        .values(turns=conversations.c.turns + 1, updated_at=now)
        .returning(conversations.c.turns)
    )
    seq: int | None = (await connection.execute(count)).scalar_one_or_none()
    if seq is None:
        raise NotFound
    return ask.conversation_id, seq


async def _reserved(connection: AsyncConnection, principal: Principal, ask: Ask, behind: Sizes, now: datetime) -> int:
    """Tokens reserved for the turn. Raises _NoRoom: most of a crowd before it holds anybody up."""
    tokens = reservation(
        question=ask.question_tokens, k=ask.k, use_rag=ask.use_rag, max_tokens=ask.max_tokens, **asdict(behind)
    )
    month = month_of(now)
    left = await room(connection, principal, month)
    if tokens <= left.free:
        if await reserve(connection, principal, month, tokens):
            return tokens
        left = await room(connection, principal, month)
    raise _NoRoom(_exhausted(tokens, left, now), provisional=left.unsettled or tokens <= left.free)


def _exhausted(tokens: int, left: Room, now: datetime) -> QuotaExhausted:
    """Says how much was asked for and what is left, and when that may have changed."""
    told = f"This turn may take {tokens} tokens, and {left.free} are left this month."
    if tokens <= left.expected:
        return QuotaExhausted(f"{told} Running turns may release some: try again soon.", retry_after=TURNS_END)
    advice = "Ask with a smaller max_tokens or k, or ask for a larger budget."
    return QuotaExhausted(f"{told} {advice}", retry_after=next_month(now) - now)


# --- an upload ------------------------------------------------------------------------------------------------


def _file(upload: Upload) -> dict[str, Any]:
    return {
        "filename": upload.filename,
        "title": upload.title,
        "media_type": upload.media_type,
        "size": upload.size,
        "sha256": upload.sha256,
        "metadata": upload.metadata,
        "staged": False,
        "chunks": 0,
    }


async def _filled(connection: AsyncConnection, principal: Principal, name: str, now: datetime) -> str:
    """The collection of this name, made if it is new; its row is held, so that twins are found."""
    query = pick(principal, collections, collections.c.id).where(collections.c.name == name).with_for_update()
    found: str | None = (await connection.execute(query)).scalar_one_or_none()
    if found is not None:
        return found
    row = {"id": names.new_id(), "name": name, "description": "", "generation": ""}
    await connection.execute(add(principal, collections, **row, created_at=now, updated_at=now))
    return row["id"]


async def _twin(connection: AsyncConnection, principal: Principal, collection_id: str, upload: Upload) -> str | None:
    """A document with the same bytes. Raises DuplicateDocument when that is not wanted."""
    if upload.on_duplicate is OnDuplicate.NEW:
        return None
    query = (
        pick(principal, versions, versions.c.document_id)
        .join(documents, documents.c.id == versions.c.document_id)
        .where(versions.c.collection_id == collection_id, versions.c.sha256 == upload.sha256, _counts())
        .order_by(versions.c.created_at, versions.c.document_id)
        .limit(1)
    )
    twin: str | None = (await connection.execute(query)).scalar_one_or_none()
    if twin is not None and upload.on_duplicate is OnDuplicate.REJECT:
        raise DuplicateDocument(f"The collection already holds this content as document {twin}.")
    return twin


def _counts() -> ColumnElement[bool]:
    """Live or still being processed; what failed or was cancelled is no twin."""
    live = and_(versions.c.document_id == documents.c.id, versions.c.version == documents.c.live_version)
    return or_(versions.c.outcome.is_(None), live)


async def _settle_generation(
    connection: AsyncConnection, principal: Principal, collection_id: str, generation: Generation, now: datetime
) -> None:
    """The first upload decides which generation the collection belongs to. Raises DimensionMismatch."""
    update = (
        change(principal, collections)
        .where(collections.c.id == collection_id, collections.c.generation.in_(("", generation.name)))
        .values(generation=generation.name, updated_at=now)
    )
    if (await connection.execute(update)).rowcount == 0:
        raise DimensionMismatch
