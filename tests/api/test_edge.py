"""What holds for every answer, whatever the route: framing, hosts, origins, policy headers, methods, ids, the log."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from api.app import create_app
from api.serve import serve
from infra.settings import Environment, Settings
from tests.platform import Platform, User, api_client

TRACE = "Traceback"


def client(quiet: Platform, headers: dict[str, str] | None = None, **settings: Any) -> httpx.AsyncClient:
    """The same platform under other settings."""
    changed = replace(quiet.services, settings=quiet.services.settings.model_copy(update=settings))
    return api_client(changed, headers)


class Broken:
    """An adapter with a fault of ours."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("a secret of the inside")


@pytest.fixture
async def broken(quiet: Platform, user: User) -> AsyncIterator[httpx.AsyncClient]:
    services = replace(quiet.services, documents=Broken())
    async with api_client(services, dict(user.http.headers)) as http:
        yield http


# --- framing ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "headers",
    [
        [("Host", "a.test"), ("Host", "b.test")],
        [("Authorization", "Bearer a"), ("Authorization", "Bearer a")],
        [("Content-Length", "2"), ("Content-Length", "2")],
        [("Content-Length", "2"), ("Transfer-Encoding", "chunked")],
        [("Content-Type", "application/json"), ("Content-Type", "text/plain")],
        [("Idempotency-Key", "a"), ("Idempotency-Key", "b")],
        [(f"X-{n}", "a") for n in range(101)],
        [("X-Long", "a" * 17_000)],
        [("Host", "evil.example.com")],
        [("Host", "moorage.test.example.com")],
        [("Host", "")],
        [("Host", "evil.example.com:80@moorage.test")],
    ],
)
async def test_an_ambiguous_request_is_malformed_whatever_its_path(quiet: Platform, headers: list) -> None:
    for path in ("/", "/api/v1/auth/me", "/nowhere"):
        response = await quiet.http.post(path, headers=headers, content=b"{}")

        assert (response.status_code, response.json()["code"]) == (400, "malformed_request")
        assert response.json()["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/api/v1/documents/a%00b", "/api/v1/documents?collection=a%00b", "/a%00", "/?%00=1"])
async def test_nul_in_a_path_or_query_is_malformed(user: User, path: str) -> None:
    response = await user.http.get(path)

    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")


STRANGE = [
    "%ED%A0%80",
    "a" * 10_000,
    "..%2f..%2fetc",
    "%2e%2e",
    "%FF",
    "%0d%0aX: y",
    "' OR 1=1",
    "*",
    "{}",
    "%E2%80%AE",
]
BY_ID = [
    ("GET", "/api/v1/documents/{}"),
    ("GET", "/api/v1/documents/{}/text"),
    ("GET", "/api/v1/documents/{}/content"),
    ("GET", "/api/v1/collections/{}/documents"),
    ("GET", "/api/v1/chat/conversations/{}/history"),
    ("DELETE", "/api/v1/chat/conversations/{}"),
    ("GET", "/api/v1/runs/{}"),
    ("GET", "/api/v1/usage/{}"),
    ("POST", "/api/v1/runs/{}/cancel"),
    ("POST", "/api/v1/runs/{}/replay"),
    ("POST", "/api/v1/runs/{}/abort"),
]


@pytest.mark.parametrize(("method", "path"), BY_ID)
async def test_a_strange_id_is_absent(user: User, method: str, path: str) -> None:
    for strange in STRANGE:
        response = await user.http.request(method, path.format(strange))

        if (method, path) != ("DELETE", "/api/v1/chat/conversations/{}"):
            assert response.status_code in (404, 405), strange
        assert response.status_code < 500
        assert response.headers["x-request-id"]


QUERIES = [
    "limit=0",
    "limit=-1",
    "limit=101",
    "limit=1e9",
    "limit=" + "9" * 5000,
    "limit=NaN",
    "limit=%ED%A0%80",
    "cursor=",
    "cursor=x",
    "cursor=" + "a" * 501,
    "cursor=%ED%A0%80",
    "cursor=Li4v",
    "limit=true",
]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/documents",
        "/api/v1/runs",
        "/api/v1/chat/conversations",
        "/api/v1/collections/default/documents",
        "/api/v1/usage/events",
    ],
)
@pytest.mark.parametrize("query", QUERIES)
async def test_a_list_takes_no_strange_limits_or_cursors(user: User, path: str, query: str) -> None:
    response = await user.http.get(f"{path}?{query}")

    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    "query",
    [
        "wait=0",
        "wait=61",
        "wait=-1",
        "wait=1e3",
        "wait=NaN",
        "wait=",
        "wait=" + "9" * 5000,
        "since=0001-01-01T00:00:00",
    ],
)
async def test_an_extreme_query_of_a_run_is_refused_or_answered_at_once(user: User, query: str) -> None:
    one = await user.http.get(f"/api/v1/runs/none?{query}")
    many = await user.http.get(f"/api/v1/runs?{query}")

    assert one.status_code in (404, 422)
    assert many.status_code in (200, 422)
    assert one.elapsed.total_seconds() < 2


@pytest.mark.parametrize(
    "since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "-1", "1e400", "99999999999"]
)
async def test_a_time_at_the_end_of_the_calendar_is_no_fault(user: User, since: str) -> None:
    query = await user.http.get("/api/v1/runs", params={"since": since})
    body = await user.http.post("/api/v1/runs/replay", json={"kind": "ingestion", "since": since})

    assert query.status_code in (200, 422)
    assert body.status_code in (202, 422)


# --- methods and representations --------------------------------------------------------------------------------------
async def test_head_answers_like_get_without_a_body(quiet: Platform, user: User) -> None:
    for path in ("/", "/healthz", "/api/v1/documents", "/api/v1/documents/none", "/nowhere"):
        get, head = await user.http.get(path), await user.http.head(path)

        assert head.status_code == get.status_code
        assert head.headers["content-length"] == get.headers["content-length"]
        assert head.headers["x-request-id"]
        assert head.content == b""


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/documents", "GET, POST, HEAD, OPTIONS"),
        ("/api/v1/chat", "POST, OPTIONS"),
        ("/api/v1/chat/conversations/x", "DELETE, OPTIONS"),
        ("/healthz", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_method_that_a_path_does_not_take_is_405_and_names_those_it_takes(
    user: User, path: str, allowed: str
) -> None:
    for method in ("PUT", "TRACE", "FROBNICATE"):
        response = await user.http.request(method, path)

        assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
        assert response.headers["allow"] == allowed
    options = await user.http.options(path)
    assert (options.status_code, options.headers["allow"], options.content) == (204, allowed, b"")


@pytest.mark.parametrize("accept", ["image/png", "text/html", "application/json;q=0", "application/xml, text/*"])
async def test_who_accepts_no_json_is_told_that_there_is_nothing_else(user: User, accept: str) -> None:
    response = await user.http.get("/api/v1/documents", headers={"Accept": accept})

    assert (response.status_code, response.json()["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize(
    "accept", ["*/*", "application/*", "application/json", "text/html, */*;q=0.1", "", "APPLICATION/JSON"]
)
async def test_who_accepts_json_gets_it(user: User, accept: str) -> None:
    response = await user.http.get("/api/v1/documents", headers={"Accept": accept})

    assert response.status_code == 200


async def test_a_slash_too_many_is_404_and_no_redirect_to_where_the_host_header_says(user: User) -> None:
    response = await user.http.get("/api/v1/documents/")

    assert response.status_code == 404


# --- headers ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/auth/me", "/api/v1/documents", "/nowhere", "/openapi.json"])
async def test_every_answer_has_its_policy(user: User, path: str) -> None:
    response = await user.http.get(path)

    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-request-id"]
    assert "server" not in response.headers


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_the_documentation_may_load_its_scripts(quiet: Platform, page: str) -> None:
    response = await quiet.http.get(page)

    assert response.status_code == 200
    assert "https://cdn.jsdelivr.net" in response.text
    assert "script-src 'unsafe-inline' https://cdn.jsdelivr.net" in response.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/metrics"])
async def test_documentation_and_metrics_are_absent_outside_dev_unless_switched_on(quiet: Platform, path: str) -> None:
    production = {"env": Environment.PRODUCTION, "hosts": ("moorage.test",)}
    async with client(quiet, **production) as off, client(quiet, **production, docs=True, metrics=True) as on:
        hidden, shown = await off.get(path), await on.get(path)

    assert (hidden.status_code, hidden.json()["code"]) == (404, "not_found")
    assert shown.status_code == 200


async def test_a_fault_of_ours_says_nothing_but_the_request_id(broken: httpx.AsyncClient) -> None:
    with capture_logs() as logs:
        response = await broken.get("/api/v1/documents")

    assert (response.status_code, response.json()["code"]) == (500, "internal")
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert response.headers["content-type"] == "application/problem+json"
    assert not any(word in response.text for word in ("secret", TRACE, "RuntimeError"))
    assert [log["event"] for log in logs] == ["request_fault", "request"]
    assert logs[1]["status"] == 500


async def test_the_log_holds_neither_query_nor_header_nor_body(quiet: Platform) -> None:
    with capture_logs() as logs:
        await quiet.http.post(
            "/api/v1/auth/login?token=canary-query",
            json={"username": "canary-name", "password": "canary-password"},
            headers={"X-Canary": "canary-header"},
        )
        await quiet.http.get("/canary-path")
        await quiet.http.request("CANARY", "/")

    assert len([log for log in logs if log["event"] == "request"]) == 3
    assert "canary" not in str(logs).lower()


async def test_a_token_in_the_query_is_no_token(user: User) -> None:
    token = user.http.headers.pop("authorization").removeprefix("Bearer ")

    response = await user.http.get("/api/v1/auth/me", params={"access_token": token, "token": token})

    assert response.status_code == 401


def test_no_operation_takes_a_secret_or_an_identity_in_its_address(quiet: Platform) -> None:
    """Addresses are logged by proxies and kept by browsers; and who asks is told by the token alone."""
    paths = create_app(quiet.services).openapi()["paths"]
    taken = {
        parameter["name"].lower()
        for methods in paths.values()
        for operation in methods.values()
        for parameter in operation.get("parameters", [])
        if parameter["in"] != "header"
    }

    assert "limit" in taken
    assert [name for name in taken if re.search(r"token|secret|password|key(?!_id$)|tenant|account|^user$", name)] == []


def test_every_list_is_bounded(quiet: Platform) -> None:
    limits = [
        parameter["schema"]
        for methods in create_app(quiet.services).openapi()["paths"].values()
        for operation in methods.values()
        for parameter in operation.get("parameters", [])
        if parameter["name"] == "limit"
    ]

    assert len(limits) >= 4
    assert {(schema["minimum"], schema["maximum"]) for schema in limits} == {(1, 100)}


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
async def test_a_method_is_not_overridden(user: User, header: str) -> None:
    response = await user.http.post("/api/v1/chat/conversations/x", headers={header: "DELETE"})

    assert response.status_code == 405


# --- hosts and origins ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("hosts", "host", "status"),
    [
        (("rag.example.org",), "rag.example.org", 200),
        (("rag.example.org",), "RAG.example.org:8443", 200),
        (("rag.example.org",), "localhost", 400),
        (("*.example.org",), "a.example.org", 200),
        (("*.example.org",), "example.org", 400),
        (("*.example.org",), "evilexample.org", 400),
        (("*",), "anything.at.all", 200),
        (("[::1]",), "[::1]:8080", 200),
        (("10.0.0.1",), "10.0.0.1:80", 200),
    ],
)
async def test_the_api_answers_to_its_names_only(quiet: Platform, hosts: tuple, host: str, status: int) -> None:
    async with client(quiet, hosts=hosts) as http:
        response = await http.get("/", headers={"Host": host})
        probe = await http.get("/healthz", headers={"Host": "10.1.2.3:8080"})

    assert response.status_code == status
    assert probe.status_code == 200


def test_dev_answers_to_names_of_this_machine() -> None:
    assert Settings(_env_file=None).trusted_hosts == (
        *("localhost", "*.localhost", "*.test", "127.0.0.1", "[::1]"),
        "127.0.0.1",
    )


def test_production_answers_to_nothing_unless_told() -> None:
    settings = Settings(_env_file=None, env="production", secret_key="a random key of more than 32 characters")

    assert settings.trusted_hosts == ()
    with pytest.raises(SystemExit, match="MOORAGE_HOSTS"):
        serve(settings)


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, content-type"}


async def test_no_origin_is_allowed_by_default(user: User) -> None:
    simple = await user.http.get("/api/v1/documents", headers={"Origin": "https://app.example.org"})
    preflight = await user.http.options("/api/v1/chat", headers={"Origin": "https://app.example.org", **PREFLIGHT})

    for response in (simple, preflight):
        assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_a_listed_origin_may_call_and_another_may_not(quiet: Platform) -> None:
    async with client(quiet, cors_origins=("https://app.example.org",)) as http:
        listed = await http.options("/api/v1/chat", headers={"Origin": "https://app.example.org", **PREFLIGHT})
        other = await http.options("/api/v1/chat", headers={"Origin": "https://evil.example.org", **PREFLIGHT})
        answer = await http.get("/", headers={"Origin": "https://app.example.org"})
        stranger = await http.get("/", headers={"Origin": "https://app.example.org.evil.org"})

    assert listed.status_code == 200
    assert listed.headers["access-control-allow-origin"] == "https://app.example.org"
    assert (other.status_code, other.json()["code"]) == (400, "malformed_request")
    assert "x-request-id" in answer.headers["access-control-expose-headers"].lower()
    for response in (other, stranger):
        assert "access-control-allow-origin" not in response.headers
    for response in (listed, other, answer, stranger):
        assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("origins", ["*", "https://*.example.org", "example.org"])
def test_an_origin_is_named_in_full(origins: str) -> None:
    with pytest.raises(ValueError, match="name each origin"):
        Settings(_env_file=None, cors_origins=origins)


@pytest.mark.parametrize("proxies", ["*", "proxy.example.org", "10.0.0.0/99"])
def test_a_proxy_is_an_address_or_a_network(proxies: str) -> None:
    with pytest.raises(ValueError, match="proxies"):
        Settings(_env_file=None, proxies=proxies)
