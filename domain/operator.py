"""What only the operator may do, on the command line and never over HTTP; only `cli` may hold these ports."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from domain.accounts import Account, Newcomer, Principal
from domain.audit import Entry, Note


@dataclass(frozen=True, slots=True)
class Tenant:
    """With this month's tokens of all its accounts."""

    tenant_id: str
    token_limit: int
    used: int
    reserved: int
    created_at: datetime
    accounts: tuple[Account, ...]


class Audit(Protocol):
    """Append-only: there is no verb to change or remove a note.

    Records that change somebody's access note it in the same transaction; this port is for what is no record's.
    """

    async def note(self, note: Note) -> None: ...

    async def entries(self, *, tenant: str | None, since: datetime | None, limit: int) -> list[Entry]:
        """Newest first."""


class Tenants(Protocol):
    async def create(self, newcomer: Newcomer) -> Account:
        """A tenant and its owner, whatever the registration mode. Raises UsernameTaken."""

    async def tenants(self) -> list[Tenant]:
        """Oldest first."""

    async def known(self, tenant_id: str) -> bool:
        """It exists, or its deletion was begun."""

    async def set_budget(self, tenant_id: str, tokens: int) -> None:
        """A budget below the limits of the accounts together cuts them in proportion. Raises NotFound."""

    async def set_password(self, username: str, password_hash: str, *, revoke_keys: bool) -> Account:
        """Ends every login of the account, and with `revoke_keys` its API keys. Raises NotFound."""

    async def set_active(self, username: str, active: bool) -> Account:
        """Also of a tenant's last owner. Raises NotFound."""

    async def close(self, principal: Principal) -> None:
        """Nobody of the tenant gets in any more; the first step of its deletion."""

    async def open_runs(self, principal: Principal) -> list[str]:
        """Workflow ids of every account's commands without an outcome."""

    async def cancel_runs(self, principal: Principal, workflow_ids: Sequence[str]) -> None:
        """Write the outcome `cancelled` to those that still have none."""

    async def rows(self, principal: Principal) -> dict[str, int]:
        """How many rows of every table are the tenant's; the audit's, which are kept, are not counted."""

    async def erase(self, principal: Principal) -> None:
        """Remove them; may be called again when it was interrupted."""


class Erasable(Protocol):
    """A store that can forget a whole tenant."""

    async def total(self, principal: Principal) -> int:
        """How many things of the tenant it holds, read from the store."""

    async def erase(self, principal: Principal) -> None:
        """All of them; may be called again."""
