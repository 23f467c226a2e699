"""The work of `moorage admin`, but for the deletion of a tenant."""

import asyncio
import json as encoder
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from api.schemas.accounts import Registration
from domain.accounts import Account, Newcomer
from domain.errors import MoorageError
from domain.operator import Tenant
from infra.services import Services, open_services
from infra.settings import Settings
from infra.telemetry import configure_logging

LINGER = 0.2  # seconds; a process that ends at once was measured to crash in interpreter teardown

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Work = Callable[[Services], Awaitable[int]]


def perform(settings: Settings, work: Work) -> int:
    """2 when it was refused or a store does not answer."""
    configure_logging(settings.log_level, "admin")
    try:
        return asyncio.run(_perform(settings, work))
    except MoorageError as error:
        return refuse(f"{error.code}: {error.detail}")


async def _perform(settings: Settings, work: Work) -> int:
    async with open_services(settings) as services:
        result = await work(services)
    await asyncio.sleep(LINGER)
    return result


def refuse(reason: str) -> int:
    err.print("error:", style="bold red", end=" ")
    err.print(reason, markup=False)
    return 2


def create_tenant(settings: Settings, username: str, email: str, token_limit: int | None, *, json: bool) -> int:
    password = secrets.token_urlsafe(18)
    try:
        valid = Registration(username=username, email=email, password=password)
    except ValidationError as error:
        return refuse("; ".join(f"{one['loc'][0]}: {one['msg']}" for one in error.errors(include_input=False)))

    async def work(services: Services) -> int:
        limit = settings.token_limit if token_limit is None else token_limit
        password_hash = await services.passwords.hash(password)
        account = await services.tenants.create(Newcomer(valid.username, valid.email, password_hash, limit))
        _tell({"tenant_id": account.tenant_id, **_names(account), "password": password, "token_limit": limit}, json)
        return 0

    return perform(settings, work)


def listing(settings: Settings, *, json: bool) -> int:
    async def work(services: Services) -> int:
        found = await services.tenants.tenants()
        if json:
            print(encoder.dumps({"tenants": [asdict(tenant) for tenant in found]}, default=_text))
        for tenant in () if json else found:
            for line in _lines(tenant):
                out.print(line, markup=False)
        return 0

    return perform(settings, work)


def set_budget(settings: Settings, tenant: str, tokens: int) -> int:
    async def work(services: Services) -> int:
        await services.tenants.set_budget(tenant, tokens)
        out.print(f"{tenant}: {tokens} tokens a month", markup=False)
        return 0

    return perform(settings, work)


def reset_password(settings: Settings, username: str, *, revoke_keys: bool, json: bool) -> int:
    async def work(services: Services) -> int:
        password = secrets.token_urlsafe(18)
        password_hash = await services.passwords.hash(password)
        account = await services.tenants.set_password(username, password_hash, revoke_keys=revoke_keys)
        _tell({**_names(account), "password": password}, json)
        return 0

    return perform(settings, work)


def set_active(settings: Settings, username: str, *, active: bool) -> int:
    async def work(services: Services) -> int:
        account = await services.tenants.set_active(username, active)
        out.print(f"{account.username}: {'enabled' if active else 'disabled'}", markup=False)
        return 0

    return perform(settings, work)


def audit(settings: Settings, tenant: str | None, since: datetime | None, limit: int, *, json: bool) -> int:
    moment = None if since is None else since.replace(tzinfo=UTC)

    async def work(services: Services) -> int:
        for entry in await services.audit.entries(tenant=tenant, since=moment, limit=limit):
            facts = {"at": entry.at, **asdict(entry.note)}
            if json:
                print(encoder.dumps(facts, default=_text))
            else:
                told = encoder.dumps(facts.pop("facts"), default=_text)
                out.print("  ".join([*(_text(value or "operator") for value in facts.values()), told]), markup=False)
        return 0

    return perform(settings, work)


def _names(account: Account) -> dict[str, Any]:
    return {"user_id": account.account_id, "username": account.username}


def _tell(facts: dict[str, Any], json: bool) -> None:
    if json:
        print(encoder.dumps(facts))
        return
    for name, value in facts.items():
        out.print(f"{name}: {value}", markup=False)


def _lines(tenant: Tenant) -> list[str]:
    used = f"{tenant.used} used and {tenant.reserved} reserved of {tenant.token_limit} tokens this month"
    people = [
        f"  {person.username}  {person.role}  {person.token_limit} tokens{'' if person.is_active else '  disabled'}"
        for person in tenant.accounts
    ]
    return [f"{tenant.tenant_id}  {used}", *people]


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
