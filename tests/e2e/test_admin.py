"""`moorage admin` as the operator types it, against stores that a home's env file names."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from domain.accounts import Principal
from domain.names import new_id
from domain.runs import State
from infra.stack.addresses import Addresses
from infra.stack.envfile import EnvFile
from tests.platform import Platform, User, platform


async def home_of(found: Platform, home: Path, addresses: Addresses) -> Platform:
    where = {"MOORAGE_TEMPORAL_ADDRESS": found.services.settings.temporal_address}
    EnvFile(home / "env").write({**addresses.environment(), **where})
    return found


@pytest.fixture
async def running(tmp_path: Path, addresses: Addresses) -> AsyncIterator[Platform]:
    async with platform(tmp_path, addresses) as found:
        yield await home_of(found, tmp_path, addresses)


@pytest.fixture
async def idle(tmp_path: Path, addresses: Addresses) -> AsyncIterator[Platform]:
    """Nobody works on what is admitted."""
    async with platform(tmp_path, addresses, work=False) as found:
        yield await home_of(found, tmp_path, addresses)


async def admin(home: Path, *words: str) -> tuple[int, str]:
    """Exit code and standard output."""
    command = [str(Path(sys.executable).with_name("moorage")), "admin", *words, "--home", str(home)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOORAGE_")}
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env=environment, cwd=home.parent
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def told(home: Path, *words: str) -> dict[str, Any]:
    code, out = await admin(home, *words, "--json")
    assert code == 0
    facts: dict[str, Any] = json.loads(out)
    return facts


async def status_of_login(platform: Platform, username: str, password: str) -> int:
    login = {"username": username, "password": password}
    return (await platform.http.post("/api/v1/auth/login", json=login)).status_code


async def test_the_operator_makes_a_tenant_and_decides_about_its_account(idle: Platform, tmp_path: Path) -> None:
    username = f"owner-{new_id()[:12]}"
    who = ("--username", username, "--email", f"{username}@example.com")

    made = await told(tmp_path, "create-tenant", *who, "--token-limit", "5000")
    logins = [await status_of_login(idle, username, made["password"])]
    reset = await told(tmp_path, "reset-password", username)
    logins += [await status_of_login(idle, username, each["password"]) for each in (made, reset)]
    await admin(tmp_path, "disable", username)
    logins.append(await status_of_login(idle, username, reset["password"]))
    budget = await admin(tmp_path, "set-budget", made["tenant_id"], "7000")
    (tenant,) = (await told(tmp_path, "list"))["tenants"]
    lines = (await admin(tmp_path, "audit", "--tenant", made["tenant_id"], "--json"))[1].splitlines()

    assert made["token_limit"] == 5000
    assert logins[:3] == [200, 401, 200]
    assert logins[3] in (401, 403)
    assert budget[0] == 0
    assert (tenant["tenant_id"], tenant["token_limit"]) == (made["tenant_id"], 7000)
    assert [(one["username"], one["is_active"], one["token_limit"]) for one in tenant["accounts"]] == [
        (username, False, 7000)
    ]
    assert [json.loads(line)["event"] for line in reversed(lines)] == [
        "tenant_created",
        "password_reset",
        "account_disabled",
        "budget_set",
    ]
    assert not any(secret in line for line in lines for secret in (made["password"], reset["password"], username))


async def test_an_erased_tenant_is_gone_from_every_store_and_nobody_else_is(running: Platform, tmp_path: Path) -> None:
    gone, stays = await running.user(), await running.user()
    documents = {user.account: await full(user) for user in (gone, stays)}
    asked = await admin(tmp_path, "delete-tenant", gone.tenant)

    code, out = await admin(tmp_path, "delete-tenant", gone.tenant, "--yes")

    receipt = json.loads(out)
    assert (asked[0], code) == (1, 0)
    assert receipt["complete"]
    assert receipt["erased"]["index"] == receipt["erased"]["database"]["documents"] == 1
    assert min(receipt["erased"]["blobs"], receipt["erased"]["redis"]) > 1
    assert {receipt["left"][name] for name in ("index", "blobs", "redis")} == {0}
    assert set(receipt["left"]["database"].values()) == {0}
    assert await counts(running, gone) == {"index": 0, "blobs": 0, "redis": 0}
    assert (await gone.http.get(f"/api/v1/documents/{documents[gone.account]}")).status_code in (401, 403, 404)
    assert (await stays.http.get(f"/api/v1/documents/{documents[stays.account]}/text")).status_code == 200
    assert min((await counts(running, stays)).values()) > 0
    kept = (await running.services.audit.entries(tenant=gone.tenant, since=None, limit=1))[0].note
    assert (kept.event, kept.facts) == ("tenant_deleted", receipt)


async def full(user: User) -> str:
    """Something in every store; the id of a document."""
    run = await user.upload("lock.txt", b"The harbour master opens the lock at six in the morning.")
    await user.ask("When does the lock open?")
    document: str = run["document_id"]
    return document


async def counts(running: Platform, user: User) -> dict[str, int]:
    principal = Principal(user.tenant, user.account)
    return {name: await store.total(principal) for name, store in running.services.erasable.items()}


async def test_open_runs_of_an_erased_tenant_are_ended(idle: Platform, tmp_path: Path) -> None:
    user = await idle.user()
    upload = await user.http.post("/api/v1/documents", files={"file": ("a.txt", b"The lock opens at six.")})
    workflow_id = upload.json()["workflow_id"]

    code, out = await admin(tmp_path, "delete-tenant", user.tenant, "--yes", "--patience", "1")
    again = await admin(tmp_path, "delete-tenant", user.tenant, "--yes")

    assert (code, again[0]) == (0, 0)
    assert json.loads(out)["runs"] == {"open": 1, "cancelled": 0, "terminated": 1}
    live = await idle.services.engine.describe(Principal(user.tenant, user.account), workflow_id)
    assert live is not None
    assert live.state is State.FAILED


@pytest.mark.parametrize("words", [("delete-tenant", "0" * 32), ("delete-tenant", ".."), ("enable", "nobody-there")])
async def test_what_is_not_there_is_refused(idle: Platform, tmp_path: Path, words: tuple[str, str]) -> None:
    assert await admin(tmp_path, *words) == (2, "")
