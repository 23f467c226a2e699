"""API keys, invites and an owner's users over HTTP: who may do what, and what a credential is good for."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from domain.accounts import Login, Newcomer, Role
from domain.names import new_id
from infra.services import Services, open_services
from infra.sql.schema import upgrade
from tests.api.test_accounts import registration
from tests.platform import PASSWORD, Platform, User, api_client

KEYS, INVITES, USERS = "/api/v1/auth/keys", "/api/v1/auth/invites", "/api/v1/auth/users"


def answer(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def bearing(platform: Platform, secret: str) -> httpx.AsyncClient:
    return api_client(platform.services, {"Authorization": f"Bearer {secret}"})


async def a_key(user: User, **fields: Any) -> dict[str, Any]:
    response = await user.http.post(KEYS, json={"name": "laptop", **fields})
    assert response.status_code == 201, response.text
    key: dict[str, Any] = response.json()
    return key


async def joined(quiet: Platform, owner: User, role: str = "member") -> User:
    """Another account of the owner's tenant, logged in."""
    invite = (await owner.http.post(INVITES, json={"role": role})).json()["invite"]
    body = registration(invite=invite)
    account = (await quiet.http.post("/api/v1/auth/register", json=body)).json()
    login = {"username": body["username"], "password": PASSWORD}
    tokens = (await quiet.http.post("/api/v1/auth/login", json=login)).json()
    return User(bearing(quiet, tokens["access_token"]), account["tenant_id"], account["user_id"])


@pytest.fixture
async def member(quiet: Platform, user: User) -> User:
    return await joined(quiet, user)


async def test_a_key_is_told_once_in_its_final_shape(user: User) -> None:
    key = await a_key(user, expires_at="2030-01-01T00:00:00Z")

    listed = (await user.http.get(KEYS)).json()

    assert key["key"].startswith("mk_")
    assert (key["name"], key["expires_at"], key["last_used_at"]) == ("laptop", "2030-01-01T00:00:00Z", None)
    shown = {name: value for name, value in key.items() if name != "key"}
    assert listed == {"items": [shown], "next_cursor": None}


async def test_a_key_does_the_work_of_its_account(quiet: Platform, user: User) -> None:
    key = await a_key(user)

    me = (await bearing(quiet, key["key"]).get("/api/v1/auth/me")).json()

    assert (me["user_id"], me["tenant_id"]) == (user.account, user.tenant)
    (listed,) = (await user.http.get(KEYS)).json()["items"]
    assert listed["last_used_at"] is not None


async def test_a_deleted_key_is_401_and_absent(quiet: Platform, user: User) -> None:
    key = await a_key(user)
    client = bearing(quiet, key["key"])
    before = await client.get("/api/v1/auth/me")

    deleted = await user.http.delete(f"{KEYS}/{key['key_id']}")

    assert (before.status_code, deleted.status_code) == (200, 204)
    assert answer(await client.get("/api/v1/auth/me")) == (401, "unauthenticated")
    assert answer(await user.http.delete(f"{KEYS}/{key['key_id']}")) == (404, "not_found")


async def test_a_key_of_another_account_is_404(quiet: Platform, user: User, member: User) -> None:
    key = await a_key(user)
    stranger = await quiet.user()

    for other in (member, stranger):
        assert answer(await other.http.delete(f"{KEYS}/{key['key_id']}")) == (404, "not_found")
        assert (await other.http.get(KEYS)).json()["items"] == []


async def test_with_a_key_nobody_gets_more_access(quiet: Platform, user: User) -> None:
    key = await a_key(user)
    client = bearing(quiet, key["key"])
    calls = [
        ("POST", KEYS, {"name": "another"}),
        ("GET", KEYS, None),
        ("DELETE", f"{KEYS}/{key['key_id']}", None),
        ("POST", INVITES, {"role": "owner"}),
        ("GET", USERS, None),
        ("PATCH", f"{USERS}/{user.account}", {"token_limit": 1}),
    ]

    answers = [answer(await client.request(method, path, json=body)) for method, path, body in calls]

    assert answers == [(403, "forbidden")] * len(calls)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "a" * 101},
        {"name": "line\nbreak"},
        {"name": "x", "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "x", "expires_at": "2030-01-01T00:00:00"},
        {"name": "x", "expires_at": "9999-12-31T23:59:59-12:00"},
        {"name": "x", "expires_at": "0001-01-01T00:00:00+12:00"},
        {"name": "x", "scope": "all"},
    ],
)
async def test_a_key_that_is_not_valid_is_422(user: User, body: dict[str, Any]) -> None:
    assert answer(await user.http.post(KEYS, json=body)) == (422, "invalid_request")


async def test_an_expired_key_says_so(quiet: Platform, user: User) -> None:
    key = await a_key(user, expires_at=(datetime.now(UTC) + timedelta(seconds=0.3)).isoformat())
    await asyncio.sleep(0.4)

    response = await bearing(quiet, key["key"]).get("/api/v1/auth/me")

    assert answer(response) == (401, "token_expired")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("token", ["mk_", "mk_" + "A" * 43, "mk_" + "A" * 5000, "mk_é" + "A" * 42, "mi_" + "A" * 43])
async def test_what_is_no_key_is_401(quiet: Platform, token: str) -> None:
    response = await quiet.http.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}".encode()})

    assert answer(response) == (401, "unauthenticated")


async def test_an_invited_member_shares_the_tenant_and_not_the_keys_to_it(user: User, member: User) -> None:
    me = (await member.http.get("/api/v1/auth/me")).json()

    assert (me["tenant_id"], me["role"]) == (user.tenant, "member")
    assert answer(await member.http.post(INVITES, json={"role": "member"})) == (403, "forbidden")
    assert answer(await member.http.get(USERS)) == (403, "forbidden")
    path = f"{USERS}/{member.account}"
    assert answer(await member.http.patch(path, json={"role": "owner"})) == (403, "forbidden")


async def test_an_invite_in_its_final_shape_is_good_for_a_week_and_one_account(quiet: Platform, user: User) -> None:
    response = await user.http.post(INVITES, json={"role": "owner"})
    invite = response.json()

    again = [await quiet.http.post("/api/v1/auth/register", json=registration(invite=invite["invite"])) for _ in "12"]

    assert response.status_code == 201
    assert set(invite) == {"invite", "expires_at"}
    left = datetime.fromisoformat(invite["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7)
    assert (again[0].status_code, again[0].json()["role"]) == (201, "owner")
    assert answer(again[1]) == (403, "forbidden")


async def test_every_invite_that_is_not_valid_is_answered_alike(quiet: Platform, user: User) -> None:
    used = (await user.http.post(INVITES, json={"role": "member"})).json()["invite"]
    await quiet.http.post("/api/v1/auth/register", json=registration(invite=used))

    answers = [
        await quiet.http.post("/api/v1/auth/register", json=registration(invite=invite))
        for invite in (used, "mi_" + "A" * 43, "nonsense", "")
    ]

    assert {answer(response) for response in answers} == {(403, "forbidden")}
    assert len({str({**response.json(), "request_id": ""}) for response in answers}) == 1


@pytest.mark.parametrize("body", [{}, {"role": "admin"}, {"role": "member", "tenant_id": "x"}])
async def test_an_invite_for_nothing_is_422(user: User, body: dict[str, str]) -> None:
    assert answer(await user.http.post(INVITES, json=body)) == (422, "invalid_request")


async def test_an_owner_lists_and_changes_the_users_of_the_tenant(user: User, member: User) -> None:
    await user.http.patch(f"{USERS}/{user.account}", json={"token_limit": 70_000})

    changed = await user.http.patch(f"{USERS}/{member.account}", json={"token_limit": 30_000, "role": "owner"})

    listed = (await user.http.get(USERS)).json()
    assert changed.status_code == 200
    assert (changed.json()["token_limit"], changed.json()["role"]) == (30_000, "owner")
    assert [(found["user_id"], found["token_limit"]) for found in listed["items"]] == [
        (member.account, 30_000),
        (user.account, 70_000),
    ]
    assert "password" not in str(listed)


async def test_limits_beyond_the_budget_are_409(user: User, member: User) -> None:
    assert answer(await user.http.patch(f"{USERS}/{member.account}", json={"token_limit": 1})) == (409, "conflict")


async def test_the_last_active_owner_cannot_go(user: User, member: User) -> None:
    for body in ({"is_active": False}, {"role": "member"}):
        assert answer(await user.http.patch(f"{USERS}/{user.account}", json=body)) == (409, "conflict")


async def test_a_user_of_another_tenant_is_404(quiet: Platform, user: User) -> None:
    stranger = await quiet.user()

    assert answer(await user.http.patch(f"{USERS}/{stranger.account}", json={"is_active": False})) == (
        404,
        "not_found",
    )


@pytest.mark.parametrize(
    "body",
    [{"is_active": 1}, {"token_limit": True}, {"token_limit": -1}, {"token_limit": 2**62}, {"role": "x"}, {"a": 1}],
)
async def test_a_change_that_is_not_valid_is_422(user: User, body: dict[str, Any]) -> None:
    assert answer(await user.http.patch(f"{USERS}/{user.account}", json=body)) == (422, "invalid_request")


async def test_a_disabled_user_is_out_at_once_by_key_and_login_and_in_again_when_enabled(
    quiet: Platform, user: User, member: User
) -> None:
    client = bearing(quiet, (await a_key(member))["key"])
    path = f"{USERS}/{member.account}"

    await user.http.patch(path, json={"is_active": False})
    out = await client.get("/api/v1/auth/me")
    await user.http.patch(path, json={"is_active": True})

    assert answer(out) == (403, "account_disabled")
    assert (await client.get("/api/v1/auth/me")).status_code == 200


async def test_an_owner_who_was_demoted_rules_no_more_whatever_the_token_says(quiet: Platform, user: User) -> None:
    second = await joined(quiet, user, "owner")
    assert (await second.http.get(USERS)).status_code == 200

    await user.http.patch(f"{USERS}/{second.account}", json={"role": "member"})

    assert (await second.http.get(USERS)).status_code in (401, 403)


async def test_a_tenant_reads_together_and_asks_alone(quiet: Platform, user: User, member: User) -> None:
    run = await user.upload("lock.txt", b"The harbour master opens the lock at six in the morning.")
    conversation = (await user.ask("When does the lock open?"))["conversation_id"]

    document = await member.http.get(f"/api/v1/documents/{run['document_id']}")
    history = await member.http.get(f"/api/v1/chat/conversations/{conversation}/history")

    assert document.status_code == 200
    assert answer(history) == (404, "not_found")


@pytest.fixture
async def by_mode(
    quiet: Platform, tmp_path_factory: pytest.TempPathFactory, mode: str
) -> AsyncIterator[tuple[Services, httpx.AsyncClient]]:
    settings = quiet.services.settings.model_copy(update={"registration": mode, "home": tmp_path_factory.mktemp(mode)})
    await upgrade(settings.database)
    async with open_services(settings, quiet.client) as services, api_client(services) as http:
        yield services, http


@pytest.mark.parametrize(("mode", "alone", "invited"), [("invite", 403, 201), ("closed", 403, 403)])
async def test_registration_keeps_to_its_mode(
    by_mode: tuple[Services, httpx.AsyncClient], alone: int, invited: int
) -> None:
    services, http = by_mode
    owner = await services.accounts.register(Newcomer(new_id(), "first@example.com", "hash", 10))
    invite, _ = await services.invites.create(owner.principal, Role.MEMBER)

    without = await http.post("/api/v1/auth/register", json=registration())
    with_one = await http.post("/api/v1/auth/register", json=registration(invite=invite))

    assert (without.status_code, with_one.status_code) == (alone, invited)


@pytest.mark.parametrize("mode", ["closed"])
async def test_where_nobody_can_register_nobody_is_invited(by_mode: tuple[Services, httpx.AsyncClient]) -> None:
    services, http = by_mode
    owner = await services.accounts.register(Newcomer(new_id(), "first@example.com", "hash", 10))
    token, _ = services.tokens.issue(Login(owner.principal, new_id(), owner.token_epoch))

    response = await http.post(INVITES, json={"role": "member"}, headers={"Authorization": f"Bearer {token}"})

    assert answer(response) == (403, "forbidden")
