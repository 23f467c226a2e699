"""Rate limits: figures on every answer, 429 when they are used up, one account and one address at a time."""

from dataclasses import replace
from typing import Any

import httpx
import pytest

from domain import rates
from domain.accounts import Principal
from domain.names import new_id
from domain.rates import Rate
from infra.rates import LocalRates, RedisRates
from infra.redis import pool
from infra.settings import Settings
from tests.platform import Platform, User, api_client

FIGURES = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")


class Counting:
    """Rates of a test of its own, that tells which buckets were asked."""

    def __init__(self) -> None:
        self.local = LocalRates()
        self.asked: list[str] = []

    async def take(self, bucket: str, limit: int) -> Rate:
        self.asked.append(bucket)
        return self.local.take(bucket, limit)


def limited(quiet: Platform, headers: Any = None, **changes: Any) -> tuple[httpx.AsyncClient, Counting]:
    counting = Counting()
    chosen = {"rate_limit": 3, "rate_limit_anonymous": 3, **changes}
    settings = quiet.services.settings.model_copy(update=chosen)
    return api_client(replace(quiet.services, settings=settings, rates=counting), headers), counting


def token(user: User) -> dict[str, str]:
    return {"Authorization": user.http.headers["authorization"]}


async def test_an_account_has_so_many_requests_a_minute(quiet: Platform, user: User) -> None:
    http, counting = limited(quiet, token(user))

    answers = [await http.get("/api/v1/documents") for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0", "0"]
    assert answers[-1].json()["code"] == "rate_limited"
    assert answers[-1].headers["retry-after"] == answers[-1].headers["ratelimit-reset"]
    assert set(counting.asked) == {rates.of_account(Principal(user.tenant, user.account))}


async def test_one_account_does_not_use_up_what_another_has(quiet: Platform) -> None:
    first, second = await quiet.user(), await quiet.user()
    http, _ = limited(quiet)
    for _ in range(4):
        await http.get("/api/v1/documents", headers=token(first))

    assert (await http.get("/api/v1/documents", headers=token(first))).status_code == 429
    assert (await http.get("/api/v1/documents", headers=token(second))).status_code == 200


async def test_calls_without_a_token_count_by_address_before_they_do_anything(quiet: Platform) -> None:
    http, counting = limited(quiet)

    login = {"username": new_id(), "password": "nothing"}
    answers = [await http.post("/api/v1/auth/login", json=login) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert set(counting.asked) == {"address:127.0.0.1"}


async def test_tokens_that_are_tried_out_count_by_address(quiet: Platform) -> None:
    http, counting = limited(quiet)

    answers = [await http.get("/api/v1/auth/me", headers={"Authorization": f"Bearer guess-{n}"}) for n in range(5)]

    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
    assert answers[-1].json()["code"] == "rate_limited"
    assert set(counting.asked) == {"address:127.0.0.1"}


async def test_an_address_that_tries_out_tokens_keeps_no_valid_one_out(quiet: Platform, user: User) -> None:
    http, _ = limited(quiet)
    for n in range(9):
        await http.get("/api/v1/auth/me", headers={"Authorization": f"Bearer guess-{n}"})

    assert (await http.get("/api/v1/auth/me", headers=token(user))).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/nowhere"),
        ("PUT", "/api/v1/chat"),
        ("GET", "/api/v1/documents"),
        ("GET", "/api/v1/documents/none"),
        ("POST", "/api/v1/chat"),
        ("HEAD", "/api/v1/documents"),
        ("OPTIONS", "/api/v1/documents"),
        ("GET", "/docs"),
    ],
)
async def test_the_figures_are_on_every_answer_and_each_call_counts_once(
    quiet: Platform, user: User, method: str, path: str
) -> None:
    for headers in ({}, token(user), {"Authorization": "Bearer nonsense"}):
        http, counting = limited(quiet, headers, rate_limit=7, rate_limit_anonymous=5)

        response = await http.request(method, path)

        assert [name for name in FIGURES if name not in response.headers] == []
        assert len(counting.asked) == 1


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/health", "/metrics"])
async def test_probes_are_not_counted(quiet: Platform, path: str) -> None:
    http, counting = limited(quiet, rate_limit_anonymous=1)

    answers = [await http.get(path) for _ in range(3)]

    assert {answer.status_code for answer in answers} == {200}
    assert counting.asked == []


async def test_zero_is_no_limit(quiet: Platform, user: User) -> None:
    http, counting = limited(quiet, token(user), rate_limit=0, rate_limit_anonymous=0)

    responses = [await http.get("/api/v1/documents"), await http.get("/")]

    assert {response.status_code for response in responses} == {200}
    assert not set(FIGURES) & set(responses[0].headers)
    assert counting.asked == []


async def test_without_redis_requests_are_answered_and_counted_here(
    quiet: Platform, user: User, closed_port: int
) -> None:
    redis = pool(f"redis://127.0.0.1:{closed_port}/0")
    settings = quiet.services.settings.model_copy(update={"rate_limit": 2})
    services = replace(quiet.services, settings=settings, rates=RedisRates(redis))
    async with api_client(services, token(user)) as http:
        answers = [await http.get("/api/v1/documents") for _ in range(3)]
    await redis.aclose()

    assert [answer.status_code for answer in answers] == [200, 200, 429]


def test_production_allows_a_tenth_of_what_dev_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOORAGE_RATE_LIMIT", "MOORAGE_RATE_LIMIT_ANONYMOUS"):
        monkeypatch.delenv(name)
    dev = Settings(_env_file=None)
    production = Settings(_env_file=None, env="production", secret_key="a random key of more than 32 characters")

    assert (dev.per_minute, dev.per_minute_anonymous) == (6000, 1200)
    assert (production.per_minute, production.per_minute_anonymous) == (600, 120)
    assert Settings(_env_file=None, rate_limit=7).per_minute == 7
