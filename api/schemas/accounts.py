"""Bodies of accounts."""

from datetime import datetime
from typing import Annotated

from pydantic import EmailStr, Field

from api.schemas.body import Request, Response
from domain.accounts import Role

Username = Annotated[str, Field(min_length=3, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
AnyPassword = Annotated[str, Field(min_length=1, max_length=512)]  # as typed; what may be chosen is domain.passwords'


class Registration(Request):
    username: Username
    email: EmailStr
    password: AnyPassword
    invite: Annotated[str, Field(max_length=200)] | None = None


class Login(Request):
    username: Annotated[str, Field(min_length=1, max_length=64)]
    password: AnyPassword


class Refresh(Request):
    refresh_token: Annotated[str, Field(min_length=1, max_length=512)]


class PasswordChange(Request):
    current_password: AnyPassword
    new_password: AnyPassword


class TokenPair(Response):
    access_token: str
    refresh_token: str
    token_type: str = "bearer"  # noqa: S105 - RFC 6750's name of the kind
    expires_in: int


class Account(Response):
    user_id: str
    username: str
    email: str
    tenant_id: str
    role: Role
    token_limit: int
    is_active: bool
    created_at: datetime
