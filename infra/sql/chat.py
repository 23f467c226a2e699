"""Conversations and their turns; they belong to the account."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, func, or_
from sqlalchemy.ext.asyncio import AsyncConnection

from domain import names
from domain.accounts import Principal
from domain.answers import candidates
from domain.chat import Answer, Conversation, Speaker, Turn, Utterance
from domain.errors import NotFound
from domain.runs import Outcome, Page, State
from domain.search import Hit, Passage
from domain.usage import Delivery, ProviderCall
from domain.window import READ, Exchange, Past
from infra.sql import runs, usage
from infra.sql.database import Database, one, utc_now
from infra.sql.encoding import encode, turn_of
from infra.sql.ownership import add, change, pick, remove
from infra.sql.paging import page
from infra.sql.tables import conversations, turns

TITLE = 80  # characters of a question that name a conversation
ANSWERED = turns.c.answer.is_not(None)  # to its end, or until somebody stopped it
EXCHANGE = (turns.c.seq, turns.c.question, turns.c.question_tokens, turns.c.answer, turns.c.answer_tokens)


class SqlTurns:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def turn(self, principal: Principal, conversation_id: str, seq: int) -> Turn:
        query = pick(principal, turns).where(_is(conversation_id, seq))
        async with self._database.read() as connection:
            return turn_of(await one(connection, query))

    async def turn_of_run(self, principal: Principal, workflow_id: str) -> Turn:
        query = pick(principal, turns).where(turns.c.workflow_id == workflow_id)
        async with self._database.read() as connection:
            return turn_of(await one(connection, query))

    async def past(self, principal: Principal, conversation_id: str, before: int) -> Past:
        """Of the turn `before`: its conversation's summary, and the newest answered turns with a smaller seq."""
        summary = pick(principal, conversations, conversations.c.summary, conversations.c.summary_until)
        answered = (
            pick(principal, turns, *EXCHANGE)
            .where(turns.c.conversation_id == conversation_id, turns.c.seq < before, ANSWERED)
            .order_by(turns.c.seq.desc())
            .limit(READ)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(answered)).all()
            kept = (await connection.execute(summary.where(conversations.c.id == conversation_id))).one_or_none()
        exchanges = tuple(Exchange(*row) for row in reversed(rows))
        if kept is None:
            return Past()
        if (kept.summary_until or 0) >= before:  # made since: it tells of what the turn had not heard
            return Past(exchanges=exchanges).trimmed()
        return Past(kept.summary or "", kept.summary_until or 0, exchanges).trimmed()

    async def note_summary(
        self,
        principal: Principal,
        turn: Turn,
        summary: str,
        until: int,
        *,
        after: int,
        calls: Sequence[ProviderCall],
        prompts: Mapping[str, str] | None = None,
        timings: Mapping[str, float] | None = None,
    ) -> None:
        """What `summarize` made of the turns up to `until`, and its provider calls, in one transaction.

        It takes the place of a summary up to `after`; where there is another one by now, that stays and nobody pays.
        """
        stands = func.coalesce(conversations.c.summary_until, 0) == after
        update = change(principal, conversations).where(conversations.c.id == turn.conversation_id, stands)
        async with self._paid(principal, calls), self._database.write() as connection:
            kept = await connection.execute(update.values(summary=summary, summary_until=until))
            bought = calls if kept.rowcount else _nobodys(calls)
            await _note(connection, principal, turn, timings=timings, calls=bought, prompts=prompts)

    async def note_flag(self, principal: Principal, turn: Turn, flag: str) -> None:
        """What an open turn had to go without."""
        await self._note(principal, turn, flags=[flag], timings=None)

    async def note_query(
        self,
        principal: Principal,
        turn: Turn,
        query: str,
        *,
        flags: Sequence[str],
        calls: Sequence[ProviderCall] = (),
        prompts: Mapping[str, str] | None = None,
        timings: Mapping[str, float] | None = None,
    ) -> None:
        """What `condense` made of the question, and its provider calls, in one transaction."""
        await self._note(principal, turn, flags=flags, timings=timings, calls=calls, prompts=prompts, query=query)

    async def note_passages(
        self,
        principal: Principal,
        turn: Turn,
        passages: Sequence[Passage],
        *,
        relevant: bool,
        found: Sequence[Hit] | None = None,
        timings: Mapping[str, float] | None = None,
    ) -> None:
        """What `retrieve` chose, and all that it `found`, both best first."""
        hits = [passage.hit for passage in passages] if found is None else found
        row: dict[str, Any] = {"passages": encode(passages), "candidates": encode(candidates(hits, passages))}
        await self._note(principal, turn, timings=timings, relevant=relevant, **row)

    async def commit_answer(
        self,
        principal: Principal,
        turn: Turn,
        answer: Answer,
        calls: Sequence[ProviderCall],
        *,
        timings: Mapping[str, float] | None = None,
    ) -> Turn:
        """The answer, its provider calls and the run's outcome in one transaction; the stored turn if there is one.

        Raises NotFound when the conversation was deleted meanwhile. It was told all the same, and is paid for.
        """
        async with self._paid(principal, calls), self._database.write() as connection:
            # Rows are locked in one order everywhere: command, conversation, turn.
            if await runs.close(connection, principal, turn.workflow_id, _succeeded(answer)) is None:
                stored = turn_of(
                    await one(connection, pick(principal, turns).where(_is(turn.conversation_id, turn.seq)))
                )
                await usage.record(connection, principal, _late(stored, calls))
                if stored.outcome is State.CANCELLED:  # its metering has gone by
                    await usage.settle(connection, principal, turn.workflow_id)
            else:
                await _touch(connection, principal, turn.conversation_id)
                row = await one(connection, _locked(principal, turn))
                await usage.record(connection, principal, calls)
                stored = await _write_answer(connection, principal, row, answer, timings)
        return stored

    async def keep_said(self, principal: Principal, turn: Turn, answer: Answer, calls: Sequence[ProviderCall]) -> None:
        """What was said until somebody stopped it, and the outcome `cancelled`; nothing where there is an answer.

        Raises as `commit_answer`.
        """
        async with self._paid(principal, calls), self._database.write() as connection:
            await runs.end(connection, principal, turn.workflow_id, Outcome(State.CANCELLED))
            row = await one(connection, _locked(principal, turn))
            await usage.record(connection, principal, calls)
            if row.outcome in (None, State.CANCELLED) and row.answer is None and answer.text:
                await _write_answer(connection, principal, row, answer, None, State.CANCELLED)

    async def conversations(self, principal: Principal, *, limit: int, cursor: str | None) -> Page[Conversation]:
        """Newest first; reruns are listed with what they are reruns of."""
        async with self._database.read() as connection:
            query = pick(principal, conversations).where(conversations.c.origin_id.is_(None))
            return await page(connection, query, conversations, _conversation, limit=limit, cursor=cursor)

    async def conversation(self, principal: Principal, conversation_id: str) -> Conversation:
        query = pick(principal, conversations).where(conversations.c.id == conversation_id)
        async with self._database.read() as connection:
            return _conversation(await one(connection, query))

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

    async def told(self, principal: Principal, conversation_id: str) -> list[str]:
        """The workflow ids of its turns and of their reruns. Raises NotFound."""
        itself, beside = _with_reruns(conversation_id)
        rows = pick(principal, conversations, conversations.c.id)
        said = pick(principal, turns, turns.c.workflow_id)
        said = said.where(turns.c.conversation_id.in_(rows.where(or_(itself, beside))))
        async with self._database.read() as connection:
            await one(connection, rows.where(itself))
            return sorted((await connection.execute(said)).scalars().all())

    async def forget(self, principal: Principal, conversation_id: str) -> list[str]:
        """Delete conversation, turns and reruns, keep the ledger; the workflow ids of all of them. Raises NotFound."""
        itself, beside = _with_reruns(conversation_id)
        rows = pick(principal, conversations, conversations.c.id)
        said = remove(principal, turns).where(turns.c.conversation_id.in_(rows.where(or_(itself, beside))))
        async with self._database.write() as connection:
            await one(connection, rows.where(itself).with_for_update())
            await connection.execute(rows.where(beside).order_by(conversations.c.id).with_for_update())
            workflow_ids = (await connection.execute(said.returning(turns.c.workflow_id))).scalars().all()
            await connection.execute(remove(principal, conversations).where(or_(itself, beside)))
        return sorted(workflow_ids)

    async def _note(self, principal: Principal, turn: Turn, *, calls: Sequence[ProviderCall] = (), **told: Any) -> None:
        async with self._paid(principal, calls), self._database.write() as connection:
            await _note(connection, principal, turn, calls=calls, **told)

    @asynccontextmanager
    async def _paid(self, principal: Principal, calls: Sequence[ProviderCall]) -> AsyncIterator[None]:
        """Around a transaction that finds no turn any more: who deletes a conversation while a model works for it has
        what was bought on the bill.
        """
        try:
            yield
        except NotFound:
            async with self._database.write() as connection:
                await usage.record(connection, principal, calls)
            raise


async def _note(
    connection: AsyncConnection,
    principal: Principal,
    turn: Turn,
    *,
    flags: Sequence[str] = (),
    timings: Mapping[str, float] | None,
    calls: Sequence[ProviderCall] = (),
    prompts: Mapping[str, str] | None = None,
    **values: Any,
) -> None:
    """Nothing is noted any more once the turn has an outcome, but what was bought is. Raises NotFound."""
    row = await one(connection, _locked(principal, turn))
    await usage.record(connection, principal, calls)
    if row.outcome is None:
        values |= {"flags": _merged(row, flags), "timings": {**row.timings, **(timings or {})}}
        values |= {"prompts": {**row.prompts, **(prompts or {})}}
        update = change(principal, turns).where(_is(turn.conversation_id, turn.seq))
        await connection.execute(update.values(**values))


async def begin(
    connection: AsyncConnection, principal: Principal, words: str, now: datetime, *, origin_id: str | None = None
) -> str:
    """A conversation with its first turn given out, named by the beginning of these words; its id."""
    conversation_id = names.new_id()
    row = {"id": conversation_id, "title": " ".join(words.split())[:TITLE], "turns": 1, "origin_id": origin_id}
    await connection.execute(add(principal, conversations, **row, created_at=now, updated_at=now))
    return conversation_id


async def _touch(connection: AsyncConnection, principal: Principal, conversation_id: str) -> None:
    update = change(principal, conversations).where(conversations.c.id == conversation_id)
    await connection.execute(update.values(updated_at=utc_now()))


async def _write_answer(
    connection: AsyncConnection,
    principal: Principal,
    row: Row[Any],
    answer: Answer,
    timings: Mapping[str, float] | None,
    outcome: State = State.SUCCEEDED,
) -> Turn:
    written = {
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
        "prompts": {**row.prompts, **answer.prompts},
        "flags": _merged(row, answer.flags),
        "timings": {**row.timings, **(timings or {})},
    }
    update = change(principal, turns).where(_is(row.conversation_id, row.seq)).values(**written)
    return turn_of((await connection.execute(update.returning(*turns.c))).one())


def _late(stored: Turn, calls: Sequence[ProviderCall]) -> Sequence[ProviderCall]:
    """A reply that came when the turn was over: whoever cancelled it pays for it, nobody pays for a second one."""
    if stored.outcome is State.CANCELLED:
        return calls
    return _nobodys(calls)


def _nobodys(calls: Sequence[ProviderCall]) -> Sequence[ProviderCall]:
    """Bought, and of no use to anybody."""
    return [replace(call, delivery=Delivery.RETRIED) for call in calls]


def _succeeded(answer: Answer) -> Outcome:
    result = {
        "finish_reason": answer.finish,
        "sources": len(answer.sources),
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
    }
    return Outcome(State.SUCCEEDED, result=result)


def _with_reruns(conversation_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """A conversation itself, and those that stand beside it."""
    return conversations.c.id == conversation_id, conversations.c.origin_id == conversation_id


def _is(conversation_id: str, seq: int) -> ColumnElement[bool]:
    return and_(turns.c.conversation_id == conversation_id, turns.c.seq == seq)


def _locked(principal: Principal, turn: Turn) -> Select[Any]:
    return pick(principal, turns).where(_is(turn.conversation_id, turn.seq)).with_for_update()


def _merged(row: Row[Any], flags: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*row.flags, *flags]))


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
