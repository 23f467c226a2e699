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
IDENTIFIER = re.compile(r"[0-9a-f]{32}")


async def page(
    connection: AsyncConnection,
    query: Select[Any],
    table: Table,
    decode: Callable[[Any], Item],
    *,
    limit: int,
    cursor: str | None,
) -> Page[Item]:
    """Rows by `created_at` and `id` of `table`; the query must select both as `created_at` and `id`.

    Raises InvalidRequest for a cursor that is none of ours.
    """
    if cursor is not None:
        created_at, row_id = _decode(cursor)
        older = table.c.created_at < created_at
        query = query.where(or_(older, and_(table.c.created_at == created_at, table.c.id < row_id)))
    query = query.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit + 1)
    rows = (await connection.execute(query)).all()
    more = _encode(rows[limit - 1].created_at, rows[limit - 1].id) if len(rows) > limit else None
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
