"""Conversations and their turns; they belong to the account."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import Principal
from domain.chat import Answer, Conversation, Line, Speaker, Turn, Utterance
from domain.errors import NotFound
from domain.runs import Outcome, Page, State
from domain.search import Passage
from domain.usage import Delivery, ProviderCall
from infra.sql import runs, usage
from infra.sql.database import Database, utc_now
from infra.sql.encoding import encode, turn_of
from infra.sql.ownership import change, pick, remove
from infra.sql.paging import page
from infra.sql.tables import conversations, turns

ANSWERED = turns.c.answer.is_not(None)  # to its end, or until somebody stopped it


class SqlTurns:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def turn(self, principal: Principal, conversation_id: str, seq: int) -> Turn:
        query = pick(principal, turns).where(_is(conversation_id, seq))
        async with self._database.read() as connection:
            return await _one(connection, query)

    async def turn_of_run(self, principal: Principal, workflow_id: str) -> Turn:
        query = pick(principal, turns).where(turns.c.workflow_id == workflow_id)
        async with self._database.read() as connection:
            return await _one(connection, query)

    async def window(self, principal: Principal, conversation_id: str, before: int, messages: int) -> list[Line]:
        """The last `messages` messages of answered turns with a smaller seq, oldest first."""
        query = (
            pick(principal, turns, turns.c.question, turns.c.answer)
            .where(turns.c.conversation_id == conversation_id, turns.c.seq < before, ANSWERED)
            .order_by(turns.c.seq.desc())
            .limit((messages + 1) // 2)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        lines = [
            line
            for row in reversed(rows)
            for line in (Line(Speaker.USER, row.question), Line(Speaker.ASSISTANT, row.answer))
        ]
        return lines[-messages:]

    async def note_query(
        self,
        principal: Principal,
        turn: Turn,
        query: str,
        *,
        flags: Sequence[str],
        calls: Sequence[ProviderCall] = (),
        timings: Mapping[str, float] | None = None,
    ) -> None:
        """What `condense` made of the question, and its provider calls, in one transaction."""
        await self._note(principal, turn, flags=flags, timings=timings, calls=calls, query=query)

    async def note_passages(
        self,
        principal: Principal,
        turn: Turn,
        passages: Sequence[Passage],
        *,
        relevant: bool,
        timings: Mapping[str, float] | None = None,
    ) -> None:
        """What `retrieve` found, best first."""
        await self._note(principal, turn, timings=timings, passages=encode(passages), relevant=relevant)

    async def commit_answer(
        self,
        principal: Principal,
        turn: Turn,
        answer: Answer,
        calls: Sequence[ProviderCall],
        *,
        timings: Mapping[str, float] | None = None,
    ) -> Turn:
        """The answer, its provider calls and the run's outcome in one transaction; the stored turn if there is one."""
        async with self._database.write() as connection:
            # Rows are locked in one order everywhere: command, conversation, turn.
            if await runs.close(connection, principal, turn.workflow_id, _succeeded(answer)) is None:
                stored = await _one(connection, pick(principal, turns).where(_is(turn.conversation_id, turn.seq)))
                await usage.record(connection, principal, _late(stored, calls))
                if stored.outcome is State.CANCELLED:  # its metering has gone by
                    await usage.settle(connection, principal, turn.workflow_id)
            else:
                await _touch(connection, principal, turn.conversation_id)
                stored = await _one(connection, _locked(principal, turn))
                await usage.record(connection, principal, calls)
                stored = await _write_answer(connection, principal, stored, answer, timings)
        return stored

    async def keep_said(self, principal: Principal, turn: Turn, answer: Answer, calls: Sequence[ProviderCall]) -> None:
        """What was said until somebody stopped it, and the outcome `cancelled`; nothing where there is an answer."""
        async with self._database.write() as connection:
            await runs.end(connection, principal, turn.workflow_id, Outcome(State.CANCELLED))
            stored = await _one(connection, _locked(principal, turn))
            await usage.record(connection, principal, calls)
            if stored.outcome in (None, State.CANCELLED) and stored.answer is None and answer.text:
                await _write_answer(connection, principal, stored, answer, None, State.CANCELLED)

    async def conversations(self, principal: Principal, *, limit: int, cursor: str | None) -> Page[Conversation]:
        async with self._database.read() as connection:
            query = pick(principal, conversations)
            return await page(connection, query, conversations, _conversation, limit=limit, cursor=cursor)

    async def history(self, principal: Principal, conversation_id: str, limit: int) -> list[Utterance]:
        """The newest messages, oldest first; a turn without an answer is its question alone. Raises NotFound."""
        query = (
            pick(principal, turns)
            .with_only_columns(
                turns.c.question, turns.c.asked_at, turns.c.answer, turns.c.answered_at, turns.c.workflow_id
            )
            .where(turns.c.conversation_id == conversation_id)
            .order_by(turns.c.seq.desc())
            .limit(limit)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        if not rows:  # a conversation is admitted with its first turn and deleted with its last
            raise NotFound
        return [utterance for row in reversed(rows) for utterance in _utterances(row)][-limit:]

    async def forget(self, principal: Principal, conversation_id: str) -> list[str]:
        """Delete conversation and turns, keep the ledger; the workflow ids of its runs. Raises NotFound."""
        lock = pick(principal, conversations).where(conversations.c.id == conversation_id).with_for_update()
        said = remove(principal, turns).where(turns.c.conversation_id == conversation_id)
        async with self._database.write() as connection:
            if (await connection.execute(lock)).one_or_none() is None:
                raise NotFound
            workflow_ids = (await connection.execute(said.returning(turns.c.workflow_id))).scalars().all()
            await connection.execute(remove(principal, conversations).where(conversations.c.id == conversation_id))
        return sorted(workflow_ids)

    async def _note(
        self,
        principal: Principal,
        turn: Turn,
        *,
        flags: Sequence[str] = (),
        timings: Mapping[str, float] | None,
        calls: Sequence[ProviderCall] = (),
        **values: Any,
    ) -> None:
        """Nothing is noted any more once the turn has an outcome, but what was bought is. Raises NotFound."""
        async with self._database.write() as connection:
            stored = await _one(connection, _locked(principal, turn))
            await usage.record(connection, principal, calls)
            if stored.outcome is None:
                values |= {"flags": _merged(stored, flags), "timings": {**stored.timings, **(timings or {})}}
                update = change(principal, turns).where(_is(turn.conversation_id, turn.seq))
                await connection.execute(update.values(**values))


async def _touch(connection: AsyncConnection, principal: Principal, conversation_id: str) -> None:
    update = change(principal, conversations).where(conversations.c.id == conversation_id)
    await connection.execute(update.values(updated_at=utc_now()))


async def _write_answer(
    connection: AsyncConnection,
    principal: Principal,
    stored: Turn,
    answer: Answer,
    timings: Mapping[str, float] | None,
    outcome: State = State.SUCCEEDED,
) -> Turn:
    row = {
        "outcome": outcome,
        "answer": answer.text,
        "answered_at": utc_now(),
        "finish": answer.finish,
        "model_used": answer.model,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "estimated": answer.estimated,
        "answer_tokens": answer.answer_tokens,
        "sources": encode(answer.sources),
        "prompt_digest": answer.prompt_digest,
        "flags": _merged(stored, answer.flags),
        "timings": {**stored.timings, **(timings or {})},
    }
    update = change(principal, turns).where(_is(stored.conversation_id, stored.seq)).values(**row)
    return turn_of((await connection.execute(update.returning(*turns.c))).one())


def _late(stored: Turn, calls: Sequence[ProviderCall]) -> Sequence[ProviderCall]:
    """A reply that came when the turn was over: whoever cancelled it pays for it, nobody pays for a second one."""
    if stored.outcome is State.CANCELLED:
        return calls
    return [replace(call, delivery=Delivery.RETRIED) for call in calls]


def _succeeded(answer: Answer) -> Outcome:
    result = {
        "finish_reason": answer.finish,
        "sources": len(answer.sources),
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
    }
    return Outcome(State.SUCCEEDED, result=result)


def _is(conversation_id: str, seq: int) -> ColumnElement[bool]:
    return and_(turns.c.conversation_id == conversation_id, turns.c.seq == seq)


def _locked(principal: Principal, turn: Turn) -> Select[Any]:
    return pick(principal, turns).where(_is(turn.conversation_id, turn.seq)).with_for_update()


async def _one(connection: AsyncConnection, query: Select[Any]) -> Turn:
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound
    return turn_of(row)


def _merged(stored: Turn, flags: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*stored.flags, *flags]))


def _utterances(row: Row[Any]) -> list[Utterance]:
    asked = Utterance(Speaker.USER, row.question, row.asked_at, row.workflow_id)
    if row.answer is None:
        return [asked]
    return [asked, Utterance(Speaker.ASSISTANT, row.answer, row.answered_at, row.workflow_id)]


def _conversation(row: Row[Any]) -> Conversation:
    return Conversation(
        conversation_id=row.id,
        title=row.title,
        turns=row.turns,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
