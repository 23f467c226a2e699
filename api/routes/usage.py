"""Tokens: what a month came to, and the ledger behind it, line by line."""

from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from api import spreadsheet, views
from api.deps import Caller, Cursor, Limit, Overseer, Platform
from api.routing import Router
from api.schemas.body import Page
from api.schemas.usage import ModelUsage, Month, PurposeUsage, Usage, UsageEvent
from domain import runs
from domain.accounts import Principal
from domain.prices import money
from domain.usage import ProviderCall, Purpose, PurposeTotal, month_of
from infra.services import Services

router = Router(prefix="/api/v1/usage", tags=["usage"])

CSV = "text/csv"
A_PAGE = 1000  # lines of an export that are in memory at once

Group = TypeVar("Group", bound=Hashable)


@router.get("")
async def usage(principal: Caller, platform: Platform, month: Month = None) -> Usage:
    """`tokens_used` counts chat and condense tokens bought from the provider; the rest is listed."""
    return await _usage(platform, principal, month)


@router.get("/events")
async def events(
    principal: Caller, platform: Platform, month: Month = None, limit: Limit = 50, cursor: Cursor = None
) -> Page[UsageEvent]:
    """The caller's ledger of a month, newest first."""
    found = await platform.usage.lines(principal, _month(month), limit=limit, cursor=cursor)
    return Page(items=[views.usage_event(line) for line in found.items], next_cursor=found.next_cursor)


@router.get("/events.csv", response_class=Response, responses={200: {"content": {CSV: {}}}})
async def export(request: Request, principal: Caller, platform: Platform, month: Month = None) -> Response:
    """The same lines, all of the month. What fails before the first line is a problem, later the file ends early."""
    chosen = _month(month)
    headers = {"Content-Disposition": f'attachment; filename="usage-{chosen}.csv"'}
    first = await platform.usage.lines(principal, chosen, limit=A_PAGE, cursor=None)
    if request.scope.get("bare"):
        return Response(None, 200, headers, CSV)
    return StreamingResponse(_rows(platform, principal, chosen, first), 200, headers, CSV)


@router.get("/{user_id}")
async def usage_of(user_id: str, principal: Overseer, platform: Platform, month: Month = None) -> Usage:
    """The same for an account of the owner's tenant."""
    account = await platform.users.user(principal, user_id)
    return await _usage(platform, account.principal, month)


async def _usage(platform: Services, principal: Principal, month: str | None) -> Usage:
    found = await platform.usage.month(principal, _month(month))
    models = _grouped(found.totals, lambda total: (total.model, total.billable))
    purposes = _grouped(found.totals, lambda total: (total.purpose, total.billable))
    return Usage(
        user_id=found.account_id,
        month=found.month,
        tokens_used=found.used,
        tokens_reserved=found.reserved,
        token_limit=found.limit,
        cost=_cost(found.totals),
        currency=platform.prices.currency or None,
        unpriced_calls=sum(total.unpriced for total in found.totals),
        by_model=[
            ModelUsage(model=model, billable=billable, **_sums(totals)) for (model, billable), totals in models.items()
        ],
        by_purpose=[
            PurposeUsage(purpose=Purpose(purpose), billable=billable, **_sums(totals))
            for (purpose, billable), totals in purposes.items()
        ],
    )


def _month(given: str | None) -> str:
    return given or month_of(datetime.now(UTC))


def _grouped(totals: Iterable[PurposeTotal], group: Callable[[PurposeTotal], Group]) -> dict[Group, list[PurposeTotal]]:
    groups: dict[Group, list[PurposeTotal]] = {}
    for total in totals:
        groups.setdefault(group(total), []).append(total)
    return groups


def _sums(totals: list[PurposeTotal]) -> dict[str, Any]:
    tokens, calls = sum(total.tokens for total in totals), sum(total.calls for total in totals)
    return {"tokens": tokens, "calls": calls, "cost": _cost(totals)}


def _cost(totals: Iterable[PurposeTotal]) -> float | None:
    """Summed in whole billionths; None when nothing has a price."""
    priced = [total.cost for total in totals if total.cost is not None]
    return money(sum(priced)) if priced else None


async def _rows(
    platform: Services, principal: Principal, month: str, page: runs.Page[ProviderCall]
) -> AsyncIterator[str]:
    yield spreadsheet.lines([UsageEvent.model_fields])
    while True:
        yield spreadsheet.lines(views.usage_event(line).model_dump(mode="json").values() for line in page.items)
        if page.next_cursor is None:
            return
        page = await platform.usage.lines(principal, month, limit=A_PAGE, cursor=page.next_cursor)
