"""Who changed whose access, and when: what the audit log is made of. Ids and numbers, no names and no secrets."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Event(StrEnum):
    ACCOUNT_REGISTERED = "account_registered"
    ACCOUNT_JOINED = "account_joined"
    KEY_CREATED = "key_created"
    KEY_DELETED = "key_deleted"
    INVITE_CREATED = "invite_created"
    USER_CHANGED = "user_changed"
    TENANT_CREATED = "tenant_created"
    BUDGET_SET = "budget_set"
    PASSWORD_RESET = "password_reset"  # noqa: S105 - a name of an event
    ACCOUNT_ENABLED = "account_enabled"
    ACCOUNT_DISABLED = "account_disabled"
    TENANT_DELETION_BEGUN = "tenant_deletion_begun"
    TENANT_DELETED = "tenant_deleted"


@dataclass(frozen=True, slots=True)
class Note:
    """One line. `account` is who did it, None the operator; `subject` the id of what it was done to.

    Notes outlive the tenant they are about, so they hold nothing that would have to be forgotten with it.
    """

    event: Event
    tenant: str
    account: str | None
    subject: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """A note that was kept."""

    at: datetime
    note: Note
