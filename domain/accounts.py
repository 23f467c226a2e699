"""Who is asking: tenants, accounts, log-ins, and the principal that every store demands."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.errors import AccountDisabled, TokenRevoked


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
class Login:
    """One log-in on one device. Every token that descends from it carries its family and the epoch it began in."""

    principal: Principal
    family: str
    epoch: int


@dataclass(frozen=True, slots=True)
class LoginState:
    """An account, and what is noted about one of its log-ins beyond that."""

    account: Account
    ended: bool = False  # this log-in was ended by itself
    carried_to: int | None = None  # the epoch that this log-in lives on in, though it began in an older one

    def require(self, login: Login) -> Principal:
        """Who the log-in acts for at present. Raises AccountDisabled, TokenRevoked."""
        if not self.account.is_active:
            raise AccountDisabled
        if self.ended or self.account.token_epoch not in (login.epoch, self.carried_to):
            raise TokenRevoked
        return self.account.principal


class Verdict(StrEnum):
    """What became of a refresh token that was shown."""

    ROTATED = "rotated"
    REUSED = "reused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Refreshed:
    """`login` is the family that was asked for; the token is empty unless it was rotated."""

    verdict: Verdict
    login: Login
    token: str = ""


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
