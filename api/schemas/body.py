"""What all request and response bodies have in common."""

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictBool, StrictInt

Item = TypeVar("Item")
Id = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
CollectionName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f/]+$")]
# Within what every store and every time zone can compute with.
Moment = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(2200, 1, 1, tzinfo=UTC))]
MetadataKey = Annotated[str, Field(min_length=1, max_length=64)]
MetadataValue = StrictBool | StrictInt | float | Annotated[str, Field(max_length=512)]


class Request(BaseModel):
    """Unknown fields are refused, and so are numbers that are none."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class Response(BaseModel):
    model_config = ConfigDict(frozen=True)


class Page(Response, Generic[Item]):
    items: list[Item]
    next_cursor: str | None = None


class FieldError(Response):
    loc: list[str | int]
    msg: str
    type: str


class Problem(Response):
    """RFC 9457. `code` is stable; `run` is the workflow id where there is one."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: list[FieldError] | None = None
    run: str | None = None

    def body(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_none=True)
