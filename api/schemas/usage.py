"""Bodies of usage."""

from api.schemas.body import Response
from domain.usage import Purpose


class ModelUsage(Response):
    model: str
    tokens: int
    calls: int
    billable: bool


class PurposeUsage(Response):
    purpose: Purpose
    tokens: int
    calls: int
    billable: bool


class Usage(Response):
    user_id: str
    month: str
    tokens_used: int
    tokens_reserved: int
    token_limit: int
    by_model: list[ModelUsage]
    by_purpose: list[PurposeUsage]
