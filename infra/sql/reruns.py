"""Answers that are made again: a turn in a conversation of its own, beside the one it stands for."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import Principal
from domain.answers import Rerun
from domain.chat import AsOf, Place
from infra.sql.chat import begin
from infra.sql.database import one
from infra.sql.ownership import pick
from infra.sql.tables import conversations, turns


async def original(connection: AsyncConnection, principal: Principal, rerun: Rerun) -> Row[Any]:
    """The turn that is to be answered again. Raises NotFound.

    Its conversation is held, so that it cannot be deleted before the rerun is there to be deleted with it.
    """
    turn = pick(principal, turns).where(turns.c.workflow_id == rerun.workflow_id)
    row = await one(connection, turn)
    beside = conversations.c.id == origin_of(row).conversation_id
    hold = pick(principal, conversations, conversations.c.id).where(beside).with_for_update()
    await one(connection, hold)
    return row


def origin_of(row: Row[Any]) -> Place:
    """A rerun of a rerun stands where the first one stands."""
    if row.origin_id is None:
        return Place(row.conversation_id, row.seq)
    return Place(row.origin_id, row.origin_seq)


async def conversation_beside(connection: AsyncConnection, principal: Principal, row: Row[Any], now: datetime) -> str:
    origin_id = origin_of(row).conversation_id
    return await begin(connection, principal, f"Rerun: {row.question}", now, origin_id=origin_id)


def kept(rerun: Rerun, row: Row[Any]) -> dict[str, Any]:
    """What the new turn has of the old one from the start: where it searches and with which words; as of then also
    what was found."""
    origin = origin_of(row)
    fixed = {
        "rerun_of": row.workflow_id,
        "as_of": rerun.as_of,
        "origin_id": origin.conversation_id,
        "origin_seq": origin.seq,
        "collection_id": row.collection_id,
        "query": row.query,
    }
    if rerun.as_of is AsOf.THEN:
        fixed |= {name: getattr(row, name) for name in ("passages", "candidates", "relevant")}
    return fixed
