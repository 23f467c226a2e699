"""Who is asking: tenants, accounts and the principal that every store demands."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    OWNER = "owner"
    MEMBER = "member"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a call acts for. Made from a verified token at the edge, and from a run's own ids in a worker."""

    tenant: str
    account: str
    role: Role = Role.MEMBER


@dataclass(frozen=True, slots=True)
class Account:
    account_id: str
    tenant_id: str
    username: str
    email: str
    role: Role
    token_limit: int
    is_active: bool
    token_epoch: int
    created_at: datetime

    @property
    def principal(self) -> Principal:
        return Principal(self.tenant_id, self.account_id, self.role)


@dataclass(frozen=True, slots=True)
class Credentials:
    account: Account
    password_hash: str


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A registration, already validated; the first account of a new tenant is its owner."""

    username: str
    email: str
    password_hash: str
    token_limit: int
