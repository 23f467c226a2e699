"""Who may call what: a row for every route and method of the application. A route without a row fails the build."""

from enum import StrEnum
from typing import Any


class Access(StrEnum):
    OPEN = "open"  # no credential is looked at
    CALLER = "caller"  # an access token or an API key
    LOGIN = "login"  # an access token: an API key must not give access to anybody
    OWNER = "owner"  # an owner's access token
    OVERSEER = "overseer"  # an owner's access token or API key: reads, and gives access to nobody


BODIES: dict[tuple[str, str], Any] = {  # valid ones, so that nothing but the credential is at fault
    ("POST", "/api/v1/auth/keys"): {"name": "laptop"},
    ("POST", "/api/v1/auth/invites"): {"role": "member"},
    ("POST", "/api/v1/auth/password"): {"current_password": "x", "new_password": "a long enough new password"},
    ("PATCH", "/api/v1/auth/users/{user_id}"): {"is_active": False},
    ("POST", "/api/v1/chat"): {"message": "When does the lock open?"},
    ("POST", "/api/v1/answers/{workflow_id}/feedback"): {"rating": "up"},
    ("POST", "/api/v1/answers/{workflow_id}/rerun"): {"as_of": "then"},
    ("POST", "/api/v1/search"): {"query": "lock"},
    ("POST", "/api/v1/runs/replay"): {"kind": "ingestion"},
}

ROUTES: dict[tuple[str, str], Access] = {
    ("GET", "/"): Access.OPEN,
    ("GET", "/healthz"): Access.OPEN,
    ("GET", "/readyz"): Access.OPEN,
    ("GET", "/health"): Access.OPEN,
    ("GET", "/metrics"): Access.OPEN,
    ("POST", "/api/v1/auth/register"): Access.OPEN,
    ("POST", "/api/v1/auth/login"): Access.OPEN,
    ("POST", "/api/v1/auth/refresh"): Access.OPEN,
    ("GET", "/api/v1/auth/me"): Access.CALLER,
    ("POST", "/api/v1/auth/logout"): Access.LOGIN,
    ("POST", "/api/v1/auth/logout-all"): Access.LOGIN,
    ("POST", "/api/v1/auth/password"): Access.LOGIN,
    ("GET", "/api/v1/auth/keys"): Access.LOGIN,
    ("POST", "/api/v1/auth/keys"): Access.LOGIN,
    ("DELETE", "/api/v1/auth/keys/{key_id}"): Access.LOGIN,
    ("POST", "/api/v1/auth/invites"): Access.OWNER,
    ("GET", "/api/v1/auth/users"): Access.OWNER,
    ("PATCH", "/api/v1/auth/users/{user_id}"): Access.OWNER,
    ("POST", "/api/v1/chat"): Access.CALLER,
    ("GET", "/api/v1/chat/conversations"): Access.CALLER,
    ("GET", "/api/v1/chat/conversations/{conversation_id}/history"): Access.CALLER,
    ("GET", "/api/v1/chat/conversations/{conversation_id}/export"): Access.CALLER,
    ("DELETE", "/api/v1/chat/conversations/{conversation_id}"): Access.CALLER,
    ("GET", "/api/v1/models"): Access.CALLER,
    ("GET", "/api/v1/answers/{workflow_id}"): Access.CALLER,
    ("POST", "/api/v1/answers/{workflow_id}/feedback"): Access.CALLER,
    ("POST", "/api/v1/answers/{workflow_id}/rerun"): Access.CALLER,
    ("POST", "/api/v1/documents"): Access.CALLER,
    ("GET", "/api/v1/documents"): Access.CALLER,
    ("GET", "/api/v1/documents/{document_id}"): Access.CALLER,
    ("GET", "/api/v1/documents/{document_id}/text"): Access.CALLER,
    ("GET", "/api/v1/documents/{document_id}/content"): Access.CALLER,
    ("GET", "/api/v1/collections"): Access.CALLER,
    ("GET", "/api/v1/collections/{name}/documents"): Access.CALLER,
    ("POST", "/api/v1/search"): Access.CALLER,
    ("GET", "/api/v1/runs"): Access.CALLER,
    ("GET", "/api/v1/runs/{workflow_id}"): Access.CALLER,
    ("GET", "/api/v1/runs/{workflow_id}/events"): Access.CALLER,
    ("POST", "/api/v1/runs/replay"): Access.CALLER,
    ("POST", "/api/v1/runs/{workflow_id}/cancel"): Access.CALLER,
    ("POST", "/api/v1/runs/{workflow_id}/replay"): Access.CALLER,
    ("POST", "/api/v1/runs/{workflow_id}/abort"): Access.CALLER,
    ("GET", "/api/v1/usage"): Access.CALLER,
    ("GET", "/api/v1/usage/events"): Access.CALLER,
    ("GET", "/api/v1/usage/events.csv"): Access.CALLER,
    ("GET", "/api/v1/usage/{user_id}"): Access.OVERSEER,
}
