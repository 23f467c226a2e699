"""Bodies of an owner's decisions about users and invites."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StrictBool, StrictInt

from api.schemas.body import Request, Response
from domain.accounts import Role

LARGEST = 10**15  # tokens; a bound for the sums in the database


class InviteFor(Request):
    role: Role


class Invite(Response):
    invite: str
    expires_at: datetime


class UserPatch(Request):
    """What is left out or null stays as it is."""

    is_active: StrictBool | None = None
    token_limit: Annotated[StrictInt, Field(ge=0, le=LARGEST)] | None = None
    role: Role | None = None
