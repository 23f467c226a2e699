"""Lists, newest first, a page at a time: a cursor names the last row that was seen."""

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Select, Table, and_, or_
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import InvalidRequest
from domain.runs import Page

Item = TypeVar("Item")
NOT_OURS = "The cursor is none of ours; begin the list again without one."
IDENTIFIER = re.compile(r"[0-9a-zA-Z:._-]{1,255}")


async def page(
    connection: AsyncConnection,
    query: Select[Any],
    table: Table,
    decode: Callable[[Any], Item],
    *,
    limit: int,
    cursor: str | None,
    order: tuple[str, str] = ("created_at", "id"),
) -> Page[Item]:
    """Rows by a moment and a unique name, the columns `order` of `table`; the query must select both by these names.

    Raises InvalidRequest for a cursor that is none of ours.
    """
    moment, name = (table.c[column] for column in order)
    if cursor is not None:
        last, last_name = _decode(cursor)
        query = query.where(or_(moment < last, and_(moment == last, name < last_name)))
    query = query.order_by(moment.desc(), name.desc()).limit(limit + 1)
    rows = (await connection.execute(query)).all()
    more = _encode(*(rows[limit - 1]._mapping[column] for column in order)) if len(rows) > limit else None
    return Page([decode(row) for row in rows[:limit]], more)


def _encode(created_at: datetime, row_id: str) -> str:
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {row_id}".encode()).decode().rstrip("=")


def _decode(cursor: str) -> tuple[datetime, str]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        moment, row_id = base64.b64decode(padded, altchars=b"-_", validate=True).decode().split(" ")
        created_at = datetime.fromisoformat(moment)
    except ValueError:
        raise InvalidRequest(NOT_OURS) from None
    if created_at.tzinfo != UTC or not IDENTIFIER.fullmatch(row_id):
        raise InvalidRequest(NOT_OURS)
    return created_at, row_id
