"""Bodies of API keys."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field

from api.schemas.body import Request, Response

LONGEST = timedelta(days=3660)


def _to_come(moment: datetime) -> datetime:
    """Also keeps moments away that no database can convert to UTC."""
    now = datetime.now(UTC)
    if not now < moment < now + LONGEST:
        raise ValueError("must be in the future and within ten years")
    return moment


class NewKey(Request):
    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
    expires_at: Annotated[AwareDatetime, AfterValidator(_to_come)] | None = None


class ApiKey(Response):
    key_id: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class NewApiKey(ApiKey):
    key: str
