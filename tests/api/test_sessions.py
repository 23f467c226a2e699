"""Log-ins: refreshing them, ending them, and how soon that is known everywhere."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import update
from structlog.testing import capture_logs

from domain.names import new_id
from infra.redis import pool
from infra.services import open_services
from infra.sql.accounts import SqlAccounts
from infra.sql.tables import accounts
from infra.stack.addresses import Addresses
from tests.platform import PASSWORD, Platform, User, api_client

NEW_PASSWORD = "another horse with another battery"
OWN = 2  # a Redis database of this suite's own, which it may flush


@dataclass(frozen=True)
class Device:
    """One log-in."""

    http: httpx.AsyncClient
    access: str
    refresh_token: str

    async def post(self, name: str, **body: str) -> httpx.Response:
        return await self.http.post(f"/api/v1/auth/{name}", json=body or None, headers=bearer(self.access))

    async def refresh(self) -> "Device":
        response = await self.http.post("/api/v1/auth/refresh", json={"refresh_token": self.refresh_token})
        assert response.status_code == 200, response.text
        return device(self.http, response)

    async def refused(self) -> str | None:
        """Why its refresh token is not taken."""
        return code(await self.http.post("/api/v1/auth/refresh", json={"refresh_token": self.refresh_token}))

    async def shut_out(self, http: httpx.AsyncClient | None = None) -> str | None:
        """Why its access token is not taken, as a process sees it."""
        return code(await (http or self.http).get("/api/v1/auth/me", headers=bearer(self.access)))


@dataclass(frozen=True)
class Person:
    http: httpx.AsyncClient
    name: str
    account: str

    async def device(self, password: str = PASSWORD) -> Device:
        response = await self.http.post("/api/v1/auth/login", json={"username": self.name, "password": password})
        assert response.status_code == 200, response.text
        return device(self.http, response)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def device(http: httpx.AsyncClient, response: httpx.Response) -> Device:
    return Device(http, response.json()["access_token"], response.json()["refresh_token"])


def code(response: httpx.Response) -> str | None:
    if response.status_code == 200:
        return None
    assert response.status_code in (401, 403, 503), response.text
    found: str = response.json()["code"]
    return found


async def person_of(http: httpx.AsyncClient) -> Person:
    name = f"user-{new_id()[:12]}"
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    account = (await http.post("/api/v1/auth/register", json=body)).json()
    return Person(http, name, account["user_id"])


@pytest.fixture
async def person(quiet: Platform) -> Person:
    return await person_of(quiet.http)


@pytest.fixture
async def elsewhere(quiet: Platform) -> AsyncIterator[httpx.AsyncClient]:
    """Another process of the same platform."""
    async with open_services(quiet.services.settings, quiet.client) as services, api_client(services) as http:
        yield http


async def soon(shut_out: Any, why: str) -> None:
    """The answer becomes this one within a second."""
    began = time.monotonic()
    while await shut_out() != why:
        assert time.monotonic() - began < 1
        await asyncio.sleep(0.02)


async def deactivate(quiet: Platform, account: str) -> None:
    records = quiet.services.accounts
    assert isinstance(records, SqlAccounts)
    values = {"is_active": False, "token_epoch": accounts.c.token_epoch + 1}
    async with records._database.write() as connection:
        await connection.execute(update(accounts).where(accounts.c.id == account).values(**values))


# --- refresh --------------------------------------------------------------------------------------------------


async def test_a_refresh_gives_a_pair_in_the_shape_of_a_login(person: Person) -> None:
    first = await person.device()

    response = await person.http.post("/api/v1/auth/refresh", json={"refresh_token": first.refresh_token})

    assert response.json().keys() == {"access_token", "refresh_token", "token_type", "expires_in"}
    second = device(person.http, response)
    assert second.refresh_token != first.refresh_token
    assert await second.shut_out() is None


async def test_a_spent_token_ends_the_login_and_is_audited(person: Person) -> None:
    thief = await person.device()
    victim = await (await thief.refresh()).refresh()
    bystander = await person.device()

    with capture_logs() as events:
        assert await thief.refused() == "token_revoked"

    assert await victim.refused() == "token_revoked"
    assert [await one.shut_out() for one in (thief, victim)] == ["token_revoked"] * 2
    assert await bystander.shut_out() is None
    [event] = [event for event in events if event["event"] == "auth_refresh_reused"]
    assert event["account"] == person.account
    assert thief.refresh_token.rpartition(".")[2] not in str(events)


async def test_twenty_at_once_leave_one_token_that_works(person: Person) -> None:
    first = await person.device()

    pairs = await asyncio.gather(*(first.refresh() for _ in range(20)))

    assert len({pair.refresh_token for pair in pairs}) == 1
    assert [await pair.shut_out() for pair in pairs] == [None] * 20
    assert await (await pairs[7].refresh()).shut_out() is None


async def test_neither_kind_of_token_passes_for_the_other(person: Person) -> None:
    found = await person.device()

    as_access = await person.http.get("/api/v1/auth/me", headers=bearer(found.refresh_token))
    as_refresh = await person.http.post("/api/v1/auth/refresh", json={"refresh_token": found.access})

    assert (as_access.status_code, as_access.json()["code"]) == (401, "unauthenticated")
    assert (as_refresh.status_code, as_refresh.json()["code"]) == (401, "unauthenticated")


async def test_a_refresh_token_in_the_address_is_not_looked_at(person: Person) -> None:
    found = await person.device()

    response = await person.http.post("/api/v1/auth/refresh", params={"refresh_token": found.refresh_token})

    assert response.status_code == 422
    assert found.refresh_token not in response.text


async def test_an_invented_refresh_token_is_401_whether_the_account_exists_or_not(person: Person) -> None:
    token = (await person.device()).refresh_token
    account = token.split(".")[1]

    for invented in (token.replace(account, new_id()), f"mrt_{new_id()}.{account}.{new_id()}.{'A' * 43}"):
        assert await Device(person.http, "", invented).refused() == "token_revoked"


# --- the ends of log-ins --------------------------------------------------------------------------------------


async def test_a_logout_ends_this_login_only(person: Person, elsewhere: httpx.AsyncClient) -> None:
    left, kept = await person.device(), await person.device()
    assert await left.shut_out(elsewhere) is None

    response = await left.post("logout")

    assert (response.status_code, response.content) == (204, b"")
    assert await left.shut_out() == "token_revoked"
    await soon(lambda: left.shut_out(elsewhere), "token_revoked")
    assert await left.refused() == "token_revoked"
    assert await kept.shut_out() is None
    assert await kept.refresh()


async def test_logout_all_ends_every_login(person: Person, elsewhere: httpx.AsyncClient) -> None:
    devices = [await person.device() for _ in range(3)]
    for one in devices:
        assert await one.shut_out(elsewhere) is None

    response = await devices[0].post("logout-all")

    assert response.status_code == 204
    for one in devices:
        await soon(lambda one=one: one.shut_out(elsewhere), "token_revoked")
        assert await one.refused() == "token_revoked"
    assert await (await person.device()).shut_out() is None


async def test_a_new_password_ends_the_other_logins(person: Person, elsewhere: httpx.AsyncClient) -> None:
    mine, other = await person.device(), await person.device()
    assert await other.shut_out(elsewhere) is None

    response = await mine.post("password", current_password=PASSWORD, new_password=NEW_PASSWORD)

    assert response.status_code == 204
    await soon(lambda: other.shut_out(elsewhere), "token_revoked")
    assert await other.refused() == "token_revoked"
    assert await mine.shut_out() is None
    assert await (await mine.refresh()).shut_out() is None
    assert await (await person.device(NEW_PASSWORD)).shut_out() is None
    with pytest.raises(AssertionError, match="invalid_credentials"):
        await person.device(PASSWORD)


async def test_a_password_is_not_changed_without_the_present_one(person: Person) -> None:
    mine = await person.device()

    response = await mine.post("password", current_password="a guess, and a bad one", new_password=NEW_PASSWORD)

    assert (response.status_code, response.json()["code"]) == (401, "invalid_credentials")
    assert await person.device(PASSWORD)


@pytest.mark.parametrize("name", ["{name}-{name}", "passwordpassword", "123456789012345", "fourteen chars"])
async def test_a_weak_new_password_is_refused_with_the_reason(person: Person, name: str) -> None:
    mine = await person.device()

    response = await mine.post("password", current_password=PASSWORD, new_password=name.format(name=person.name))

    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "invalid_request")
    [error] = problem["errors"]
    assert (error["loc"], error["type"]) == (["body", "new_password"], "weak_password")
    assert error["msg"]


async def test_a_deactivated_account_is_out_within_a_second(quiet: Platform, person: Person) -> None:
    found = await person.device()
    assert await found.shut_out() is None

    await deactivate(quiet, person.account)

    await soon(found.shut_out, "account_disabled")
    assert await found.refused() == "account_disabled"
    response = await person.http.post("/api/v1/auth/login", json={"username": person.name, "password": PASSWORD})
    assert (response.status_code, response.json()["code"]) == (401, "invalid_credentials")


async def test_the_role_is_the_one_the_database_knows_now(quiet: Platform, user: User) -> None:
    records = quiet.services.accounts
    assert isinstance(records, SqlAccounts)
    async with records._database.write() as connection:
        await connection.execute(update(accounts).where(accounts.c.id == user.account).values(role="member"))

    assert (await user.http.get("/api/v1/auth/me")).json()["role"] == "member"


# --- without Redis --------------------------------------------------------------------------------------------


@pytest.fixture
async def flushable(quiet: Platform, addresses: Addresses) -> AsyncIterator[httpx.AsyncClient]:
    """The platform over a Redis database that nobody else uses."""
    url = f"{addresses.redis_url.removesuffix('/0')}/{OWN}"
    settings = quiet.services.settings.model_copy(update={"redis_url": SecretStr(url)})
    async with open_services(settings, quiet.client) as services, api_client(services) as http:
        yield http


async def flush(addresses: Addresses) -> None:
    client = pool(f"{addresses.redis_url.removesuffix('/0')}/{OWN}")
    await client.flushdb()
    await client.aclose()


async def test_a_flushed_redis_brings_no_login_back_and_ends_no_access(
    quiet: Platform, flushable: httpx.AsyncClient, addresses: Addresses
) -> None:
    left, everywhere, changed, disabled, kept = [await person_of(flushable) for _ in range(5)]
    out = [await one.device() for one in (left, everywhere, changed, disabled)]
    changer, bystander = await changed.device(), await kept.device()
    await out[0].post("logout")
    await out[1].post("logout-all")
    await changer.post("password", current_password=PASSWORD, new_password=NEW_PASSWORD)
    await deactivate(quiet, disabled.account)

    await flush(addresses)

    whys = ["token_revoked"] * 3 + ["account_disabled"]
    for one, why in zip(out, whys, strict=True):
        await soon(one.shut_out, why)
    assert await changer.shut_out() is None
    assert await bystander.shut_out() is None
    assert await bystander.refused() == "token_revoked"


@pytest.fixture
async def redisless(quiet: Platform, closed_port: int) -> AsyncIterator[httpx.AsyncClient]:
    settings = quiet.services.settings.model_copy(update={"redis_url": SecretStr(f"redis://127.0.0.1:{closed_port}/0")})
    async with open_services(settings, quiet.client) as services, api_client(services) as http:
        yield http


async def test_without_redis_access_and_logout_go_on_and_refresh_waits(
    person: Person, redisless: httpx.AsyncClient
) -> None:
    found = await person.device()
    away = Device(redisless, found.access, found.refresh_token)

    assert await away.shut_out() is None
    assert await away.refused() == "dependency_unavailable"
    login = await redisless.post("/api/v1/auth/login", json={"username": person.name, "password": PASSWORD})
    assert (login.status_code, login.headers["retry-after"]) == (503, "2")
    assert (await away.post("logout")).status_code == 204

    assert await found.refused() == "token_revoked"
