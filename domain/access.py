"""Who may come in, and as what: API keys, invites, and what an owner decides about the tenant's users."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from domain.accounts import Account, Principal, Role
from domain.runs import Page

MOST_KEYS = 50  # of one account
MOST_INVITES = 100  # of one tenant, open at a time
INVITE_LIFETIME = timedelta(days=7)
NOTED_EVERY = timedelta(minutes=1)  # how exact a key's last use is


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Without its secret, which is told once."""

    key_id: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class UserChange:
    """What an owner wants otherwise; None leaves it."""

    is_active: bool | None = None
    token_limit: int | None = None
    role: Role | None = None


class Keys(Protocol):
    """API keys belong to the account: a colleague's are absent."""

    async def create(self, principal: Principal, name: str, expires_at: datetime | None) -> tuple[ApiKey, str]:
        """With its secret. Raises Conflict when the account has as many as it may."""

    async def keys(self, principal: Principal, *, limit: int, cursor: str | None) -> Page[ApiKey]:
        """Newest first."""

    async def delete(self, principal: Principal, key_id: str) -> None:
        """From now on it is refused. Raises NotFound."""

    async def verify(self, secret: str) -> Principal:
        """Role and account as they are now. Raises Unauthenticated, TokenExpired, AccountDisabled."""


class Invites(Protocol):
    async def create(self, principal: Principal, role: Role) -> tuple[str, datetime]:
        """(secret, when it ends). Raises Conflict when the tenant has as many open ones as it may."""


class Users(Protocol):
    """An owner's view of the accounts of the tenant; that the caller is one is checked at the edge."""

    async def users(self, principal: Principal, *, limit: int, cursor: str | None) -> Page[Account]:
        """Newest first."""

    async def user(self, principal: Principal, account_id: str) -> Account:
        """Raises NotFound."""

    async def change(self, principal: Principal, account_id: str, change: UserChange) -> Account:
        """All of it or nothing. Deactivation and another role end every login of the account.

        Raises NotFound, and Conflict when the limits together would exceed the tenant's budget or nobody active
        would own the tenant.
        """
