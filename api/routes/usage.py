"""This month's tokens."""

from collections import defaultdict
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from fastapi import Query

from api.deps import Caller, Platform
from api.routing import Router
from api.schemas.usage import ModelUsage, PurposeUsage, Usage
from domain.usage import Purpose, PurposeTotal, month_of

router = Router(prefix="/api/v1/usage", tags=["usage"])

Group = TypeVar("Group", bound=Hashable)


@router.get("")
async def usage(
    principal: Caller,
    platform: Platform,
    month: Annotated[str | None, Query(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")] = None,
) -> Usage:
    """`tokens_used` counts chat and condense tokens bought from the provider; the rest is listed."""
    found = await platform.usage.month(principal, month or month_of(datetime.now(UTC)))
    models = _grouped(found.totals, lambda total: (total.model, total.billable))
    purposes = _grouped(found.totals, lambda total: (total.purpose, total.billable))
    return Usage(
        user_id=found.account_id,
        month=found.month,
        tokens_used=found.used,
        tokens_reserved=found.reserved,
        token_limit=found.limit,
        by_model=[
            ModelUsage(model=model, billable=billable, tokens=tokens, calls=calls)
            for (model, billable), (tokens, calls) in models.items()
        ],
        by_purpose=[
            PurposeUsage(purpose=Purpose(purpose), billable=billable, tokens=tokens, calls=calls)
            for (purpose, billable), (tokens, calls) in purposes.items()
        ],
    )


def _grouped(totals: tuple[PurposeTotal, ...], group: Callable[[PurposeTotal], Group]) -> dict[Group, tuple[int, int]]:
    """Group to (tokens, calls)."""
    sums: dict[Group, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for total in totals:
        tokens, calls = sums[group(total)]
        sums[group(total)] = (tokens + total.tokens, calls + total.calls)
    return sums
