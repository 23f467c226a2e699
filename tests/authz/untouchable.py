"""A platform on which a refused call may do nothing: every port but those that look at a credential tells on it."""

from dataclasses import fields, replace
from typing import Any

from infra.services import Services

LOOK_ONLY = {"settings", "accounts", "keys", "login_states", "tokens", "passwords", "rates", "pings", "erasable"}


class Untouchable:
    """Stands behind a port; whatever is called on it is noted, and fails."""

    def __init__(self, port: str, touched: list[str]) -> None:
        self._port = port
        self._touched = touched

    def __getattr__(self, verb: str) -> Any:
        self._touched.append(f"{self._port}.{verb}")
        raise AssertionError(f"{self._port}.{verb} was reached by a refused call")


def untouchable(services: Services) -> tuple[Services, list[str]]:
    """(the platform, what was touched so far)."""
    touched: list[str] = []
    ports = {field.name for field in fields(services)} - LOOK_ONLY
    return replace(services, **{port: Untouchable(port, touched) for port in ports}), touched
