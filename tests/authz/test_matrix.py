"""The authorisation matrix, generated from the application's routes: every route with every credential."""

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import update

from api.app import create_app
from domain.names import new_id
from infra.sql.tables import api_keys
from tests.api.test_access import a_key, joined
from tests.authz.credentials import Forger, Refused, forged
from tests.authz.expectations import BODIES, ROUTES, Access
from tests.authz.untouchable import untouchable
from tests.platform import PASSWORD, Platform, User, api_client


def served(platform: Platform) -> set[tuple[str, str]]:
    """Of every router that the application includes; what is hidden from the OpenAPI counts too."""
    app = create_app(platform.services)
    routers = [included.original_router for included in app.routes if hasattr(included, "original_router")]
    return {
        (method, route.path)
        for route in (route for router in routers for route in router.routes)
        if isinstance(route, APIRoute)
        for method in (route.methods or set()) - {"HEAD", "OPTIONS"}
    }


def guarded(*access: Access) -> list[tuple[str, str]]:
    return [route for route, wanted in ROUTES.items() if wanted in (access or set(Access) - {Access.OPEN})]


def test_every_route_has_a_row_and_every_row_a_route(quiet: Platform) -> None:
    assert served(quiet) == set(ROUTES)


async def call(http: httpx.AsyncClient, route: tuple[str, str], header: str | None) -> tuple[int, str]:
    method, path = route
    options: dict[str, Any] = {"json": BODIES[route]} if route in BODIES else {}
    if route == ("POST", "/api/v1/documents"):
        options = {"files": {"file": ("lock.txt", b"The lock opens at six.")}}
    headers = {} if header is None else {"Authorization": header}
    response = await http.request(method, re.sub("{[a-z_]+}", new_id(), path), headers=headers, **options)
    return response.status_code, response.json().get("code", "") if response.content else ""


async def disabled(quiet: Platform, owner: User) -> list[Refused]:
    """The credentials of an account that its owner has disabled."""
    member = await joined(quiet, owner)
    key = (await a_key(member))["key"]
    await owner.http.patch(f"/api/v1/auth/users/{member.account}", json={"is_active": False})
    while (await member.http.get("/api/v1/auth/me")).status_code == 200:  # remembered for half a second
        await asyncio.sleep(0.05)
    tokens = {"a disabled account": member.http.headers["authorization"], "its API key": f"Bearer {key}"}
    return [Refused(state, header, (403, "account_disabled")) for state, header in tokens.items()]


async def ended(quiet: Platform, owner: User) -> list[Refused]:
    """What was good once: logged out, rotated out, deleted, expired, and tokens of the other kind."""
    name = f"user-{new_id()[:12]}"
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    await quiet.http.post("/api/v1/auth/register", json=body)
    pair = (await quiet.http.post("/api/v1/auth/login", json={"username": name, "password": PASSWORD})).json()
    header = {"Authorization": f"Bearer {pair['access_token']}"}
    await quiet.http.post("/api/v1/auth/logout", headers=header)
    deleted, expiring = await a_key(owner), await a_key(owner, expires_at=_soon())
    await owner.http.delete(f"/api/v1/auth/keys/{deleted['key_id']}")
    await _expire(quiet, expiring["key_id"])
    return [
        Refused("logged out", header["Authorization"], (401, "token_revoked")),
        Refused("a refresh token as access token", f"Bearer {pair['refresh_token']}"),
        Refused("a deleted API key", f"Bearer {deleted['key']}"),
        Refused("an expired API key", f"Bearer {expiring['key']}", (401, "token_expired")),
    ]


def _soon() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


async def _expire(platform: Platform, key_id: str) -> None:
    database = platform.services.accounts._database  # type: ignore[attr-defined]  # no verb makes time pass
    async with database.write() as connection:
        past = datetime.now(UTC) - timedelta(minutes=1)
        await connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(expires_at=past))


async def test_no_bad_credential_gets_in_or_touches_anything(quiet: Platform, user: User) -> None:
    services = quiet.services
    login = services.tokens.verify(user.http.headers["authorization"].removeprefix("Bearer "))
    forger = Forger(services.settings.secret_key.get_secret_value(), login)
    states = [*forged(forger), *await ended(quiet, user), *await disabled(quiet, user)]
    strict, touched = untouchable(services)

    wrong = []
    async with api_client(strict) as http:
        for route in guarded():
            for state in states:
                found = await call(http, route, state.header)
                if found != state.answer:
                    wrong.append((*route, state.state, found))

    print(f"{len(guarded())} routes x {len(states)} credentials: {len(guarded()) * len(states)} calls refused")
    assert wrong == []
    assert touched == []
    assert len(states) >= 19


async def test_a_good_credential_of_the_wrong_kind_or_role_is_403(quiet: Platform, user: User) -> None:
    member = await joined(quiet, user)
    keys = {who: f"Bearer {(await a_key(who))['key']}" for who in (user, member)}
    strict, touched = untouchable(quiet.services)
    refused = [(route, keys[user]) for route in guarded(Access.LOGIN, Access.OWNER)]
    refused += [(route, keys[member]) for route in guarded(Access.OWNER, Access.OVERSEER)]
    refused += [(route, member.http.headers["authorization"]) for route in guarded(Access.OWNER, Access.OVERSEER)]

    async with api_client(strict) as http:
        answers = [(route, await call(http, route, header)) for route, header in refused]

    assert [found for found in answers if found[1] != (403, "forbidden")] == []
    assert touched == []


# --- objects ----------------------------------------------------------------------------------------------------


class Objects:
    """One of each kind of object of one account; paths by route."""

    def __init__(self, ids: dict[str, str]) -> None:
        self.ids = ids

    def path(self, template: str, kind: str) -> str:
        return re.sub("{[a-z_]+}", self.ids[kind], template)


OBJECTS = [  # (method, path, the kind of object it takes, statuses: own, a colleague's)
    ("GET", "/api/v1/documents/{document_id}", "document", 200, 200),
    ("GET", "/api/v1/documents/{document_id}/text", "document", 200, 200),
    ("GET", "/api/v1/documents/{document_id}/content", "document", 200, 200),
    ("GET", "/api/v1/collections/{name}/documents", "collection", 200, 200),
    ("GET", "/api/v1/runs/{workflow_id}", "ingestion", 200, 200),
    ("POST", "/api/v1/runs/{workflow_id}/cancel", "ingestion", 409, 409),
    ("POST", "/api/v1/runs/{workflow_id}/replay", "ingestion", 409, 409),
    ("POST", "/api/v1/runs/{workflow_id}/abort", "ingestion", 409, 409),
    ("GET", "/api/v1/runs/{workflow_id}", "turn", 200, 404),
    ("GET", "/api/v1/runs/{workflow_id}/events", "turn", 200, 404),
    ("POST", "/api/v1/runs/{workflow_id}/cancel", "turn", 409, 404),
    ("POST", "/api/v1/runs/{workflow_id}/replay", "turn", 409, 404),
    ("POST", "/api/v1/runs/{workflow_id}/abort", "turn", 409, 404),
    ("GET", "/api/v1/answers/{workflow_id}", "turn", 200, 404),
    ("POST", "/api/v1/answers/{workflow_id}/feedback", "turn", 204, 404),
    ("POST", "/api/v1/answers/{workflow_id}/rerun", "turn", 202, 404),
    ("GET", "/api/v1/usage/{user_id}", "account", 200, 403),
    ("GET", "/api/v1/chat/conversations/{conversation_id}/history", "conversation", 200, 404),
    ("GET", "/api/v1/chat/conversations/{conversation_id}/export", "conversation", 200, 404),
    ("DELETE", "/api/v1/chat/conversations/{conversation_id}", "conversation", 204, 404),
    ("DELETE", "/api/v1/auth/keys/{key_id}", "key", 204, 404),
]
DELETED = {"conversation", "key"}  # kinds that the last rows above delete


def test_every_route_with_an_object_is_in_the_table() -> None:
    with_object = {route for route in guarded(Access.CALLER, Access.LOGIN, Access.OVERSEER) if "{" in route[1]}

    assert {(method, path) for method, path, *_ in OBJECTS} == with_object


async def owned(user: User) -> Objects:
    collection = new_id()
    run = await user.upload("lock.txt", b"The lock opens at six.", collection=collection)
    turn = await user.ask("When does the lock open?", collection=collection)
    key = (await user.http.post("/api/v1/auth/keys", json={"name": "laptop"})).json()
    return Objects(
        {
            "document": run["document_id"],
            "collection": collection,
            "ingestion": run["workflow_id"],
            "turn": turn["workflow_id"],
            "conversation": turn["conversation_id"],
            "key": key["key_id"],
            "account": user.account,
        }
    )


def nobodys(user: User) -> Objects:
    """Well-formed ids, of the caller's own tenant where they name one, that nothing has."""
    ids = {kind: new_id() for kind in ("document", "collection", "conversation", "key", "account")}
    return Objects(
        {**ids, "ingestion": f"ingest:{user.tenant}:{new_id()}:1", "turn": f"chat:{user.tenant}:{new_id()}:1"}
    )


async def ask(http: httpx.AsyncClient, method: str, path: str, body: Any = None) -> httpx.Response:
    return await http.request(method, path, json=body)


def bare(response: httpx.Response, path: str) -> str:
    """The answer without the id of the request and without the id that was asked for."""
    return response.text.replace(response.headers["x-request-id"], "").replace(path, "")


async def test_what_is_foreign_is_absent_byte_for_byte(quiet: Platform, user: User) -> None:
    colleague, stranger = await joined(quiet, user), await quiet.user()
    mine, theirs, nothing = await owned(user), await owned(stranger), nobodys(user)
    calls, wrong = 0, []
    for method, template, kind, own, shared in OBJECTS:
        path, foreign, absent = (objects.path(template, kind) for objects in (mine, theirs, nothing))
        body = BODIES.get((method, template))
        seen = {
            "colleague": (await ask(colleague.http, method, path, body)).status_code,
            "stranger": (await ask(stranger.http, method, path, body)).status_code,
            "own": (await ask(user.http, method, path, body)).status_code,
        }
        if seen != {"colleague": shared, "stranger": 404, "own": own}:
            wrong.append((method, template, kind, seen))
        gone = (await ask(user.http, method, path)).status_code if method == "DELETE" else 404
        alike = [bare(await ask(user.http, method, one, body), one) for one in (foreign, absent)]
        if gone != 404 or alike[0] != alike[1]:
            wrong.append((method, template, kind, gone, alike))
        calls += 6
    print(f"{len(OBJECTS)} object routes, {calls} calls: own, colleague's, stranger's, nobody's, deleted")

    assert wrong == []


@pytest.mark.parametrize("kind", ["document", "turn", "conversation", "account"])
async def test_a_foreign_object_takes_as_long_as_an_absent_one(quiet: Platform, user: User, kind: str) -> None:
    """Medians within 5 ms or 10 %, in one of three rounds: the machine has other things to do."""
    stranger = await quiet.user()
    theirs, nothing = await owned(stranger), nobodys(user)
    method, template = next((method, path) for method, path, of, *_ in OBJECTS if of == kind)
    foreign, absent = theirs.path(template, kind), nothing.path(template, kind)

    apart = [await _difference(user.http, method, foreign, absent) for _ in range(3)]

    assert min(apart) <= 0.005


async def _difference(http: httpx.AsyncClient, method: str, one: str, other: str) -> float:
    """Seconds between the medians of 30 calls each, taken in turn; 0 within a tenth of each other."""
    took: dict[str, list[float]] = {one: [], other: []}
    for _ in range(30):
        for path, times in took.items():
            began = time.perf_counter()
            assert (await ask(http, method, path)).status_code == 404
            times.append(time.perf_counter() - began)
    first, second = median(took[one]), median(took[other])
    return 0.0 if abs(first - second) <= 0.1 * second else abs(first - second)
