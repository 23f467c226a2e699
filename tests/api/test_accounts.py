"""Register, log in, and what a token is good for."""

from datetime import timedelta

import pytest

from domain.accounts import Login
from domain.names import new_id
from infra.security import JwtTokens
from tests.platform import PASSWORD, Platform, User


def registration(**changes: str) -> dict[str, str]:
    name = f"user-{new_id()[:12]}"
    return {"username": name, "email": f"{name}@example.com", "password": PASSWORD, **changes}


async def test_the_first_account_owns_its_new_tenant(quiet: Platform) -> None:
    body = registration()

    response = await quiet.http.post("/api/v1/auth/register", json=body)

    account = response.json()
    assert response.status_code == 201
    assert (account["username"], account["role"], account["is_active"]) == (body["username"], "owner", True)
    assert account["token_limit"] == 100_000
    assert account["created_at"].endswith("Z")
    assert "password" not in response.text


async def test_a_username_is_taken_whatever_its_case(quiet: Platform) -> None:
    body = registration()
    await quiet.http.post("/api/v1/auth/register", json=body)

    response = await quiet.http.post("/api/v1/auth/register", json={**body, "username": body["username"].upper()})

    assert (response.status_code, response.json()["code"]) == (409, "username_taken")


async def test_a_login_gives_a_pair_of_tokens_in_its_final_shape(quiet: Platform) -> None:
    body = registration()
    await quiet.http.post("/api/v1/auth/register", json=body)

    response = await quiet.http.post(
        "/api/v1/auth/login", json={"username": body["username"], "password": body["password"]}
    )

    tokens = response.json()
    assert response.status_code == 200
    assert set(tokens) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert tokens["token_type"] == "bearer"
    assert 0 < tokens["expires_in"] <= 900


async def test_an_unknown_name_and_a_wrong_password_answer_alike(quiet: Platform) -> None:
    body = registration()
    await quiet.http.post("/api/v1/auth/register", json=body)

    wrong = await quiet.http.post("/api/v1/auth/login", json={"username": body["username"], "password": "guess"})
    unknown = await quiet.http.post("/api/v1/auth/login", json={"username": "nobody-here", "password": "guess"})

    assert wrong.status_code == unknown.status_code == 401
    assert {**wrong.json(), "request_id": ""} == {**unknown.json(), "request_id": ""}


async def test_me_is_who_the_token_says(user: User) -> None:
    account = (await user.http.get("/api/v1/auth/me")).json()

    assert (account["user_id"], account["tenant_id"]) == (user.account, user.tenant)


def forged(services_secret: str, lifetime: int) -> JwtTokens:
    return JwtTokens(services_secret, timedelta(seconds=lifetime))


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic abc", "Bearer a.b.c", "Bearer \u00e9", "Bearer " + "a" * 5000]
)
async def test_a_header_that_is_no_valid_token_is_401(quiet: Platform, header: str) -> None:
    response = await quiet.http.get("/api/v1/auth/me", headers={"Authorization": header.encode()})

    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")


async def test_a_token_of_another_key_is_401(quiet: Platform, user: User) -> None:
    token, _ = forged("another key of more than thirty-two characters", 600).issue(login_of(quiet, user))

    response = await quiet.http.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})

    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")


async def test_an_expired_token_says_so(quiet: Platform, user: User) -> None:
    secret = quiet.services.settings.secret_key.get_secret_value()
    token, _ = forged(secret, -60).issue(login_of(quiet, user))

    response = await quiet.http.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})

    assert (response.status_code, response.json()["code"]) == (401, "token_expired")


def login_of(quiet: Platform, user: User) -> Login:
    return quiet.services.tokens.verify(user.http.headers["authorization"].removeprefix("Bearer "))


@pytest.mark.parametrize(
    "changes", [{"username": "a b"}, {"email": "nowhere"}, {"password": "short"}, {"username": ""}, {"admin": "yes"}]
)
async def test_a_registration_that_is_not_valid_names_the_field(quiet: Platform, changes: dict[str, str]) -> None:
    response = await quiet.http.post("/api/v1/auth/register", json=registration(**changes))

    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "invalid_request")
    assert problem["errors"][0]["loc"][-1] in changes
    assert set(problem["errors"][0]) == {"loc", "msg", "type"}


async def test_a_body_that_is_no_json_is_malformed(quiet: Platform) -> None:
    response = await quiet.http.post("/api/v1/auth/login", content=b"{", headers={"Content-Type": "application/json"})

    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")


async def test_a_body_over_a_megabyte_is_refused(quiet: Platform) -> None:
    response = await quiet.http.post("/api/v1/auth/login", json={"username": "a" * 1_100_000, "password": "x"})

    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


async def test_an_unknown_path_is_a_problem_with_the_id_of_its_request(quiet: Platform) -> None:
    response = await quiet.http.get("/api/v1/nothing")

    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert response.json()["request_id"] == response.headers["x-request-id"]


async def test_a_method_a_path_does_not_take_is_405(quiet: Platform) -> None:
    response = await quiet.http.put("/api/v1/chat")

    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
