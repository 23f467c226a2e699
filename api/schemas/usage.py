"""Bodies of usage."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Query

from api.schemas.body import Response
from domain.usage import Purpose

Month = Annotated[str | None, Query(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")]


class ModelUsage(Response):
    model: str
    tokens: int
    calls: int
    billable: bool
    cost: float | None


class PurposeUsage(Response):
    purpose: Purpose
    tokens: int
    calls: int
    billable: bool
    cost: float | None


class Usage(Response):
    """`cost` in `currency`, of the calls that had a price when they were made; `unpriced_calls` had none."""

    user_id: str
    month: str
    tokens_used: int
    tokens_reserved: int
    token_limit: int
    cost: float | None
    currency: str | None
    unpriced_calls: int
    by_model: list[ModelUsage]
    by_purpose: list[PurposeUsage]


class UsageEvent(Response):
    """A line of the ledger."""

    op_id: str
    workflow_id: str | None
    purpose: Purpose
    model: str
    prompt_tokens: int
    completion_tokens: int
    outcome: Literal["delivered", "estimated", "retried"]
    billable: bool
    cost: float | None
    at: datetime
