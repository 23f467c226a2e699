"""Requests by the minute on a real server, and in this process while there is none."""

import asyncio
import time
from dataclasses import astuple

import pytest
from redis.asyncio import Redis

from domain import rates
from domain.accounts import Principal
from domain.names import new_id
from infra.rates import LocalRates, RedisRates
from infra.redis import pool


@pytest.fixture
def bucket() -> str:
    return rates.of_account(Principal(new_id(), new_id()))


async def test_the_limit_is_exact_for_all_processes_together(redis: Redis, bucket: str) -> None:
    processes = [RedisRates(redis), RedisRates(redis)]

    taken = await asyncio.gather(*(processes[n % 2].take(bucket, 20) for n in range(50)))

    assert sum(not rate.exceeded for rate in taken) == 20
    assert sorted({rate.remaining for rate in taken}) == list(range(20))


async def test_the_figures_say_what_is_left(redis: Redis, bucket: str) -> None:
    first, second, third = [await RedisRates(redis).take(bucket, 2) for _ in range(3)]

    assert astuple(first) == (2, 1, 60, False)
    assert (second.remaining, second.exceeded) == (0, False)
    assert (third.remaining, third.exceeded) == (0, True)


async def test_a_bucket_begins_anew_when_its_minute_is_over(redis: Redis, bucket: str) -> None:
    await RedisRates(redis).take(bucket, 1)
    assert 0 < await redis.pttl(bucket) <= 60_000

    await redis.pexpire(bucket, 20)
    await asyncio.sleep(0.05)

    assert not (await RedisRates(redis).take(bucket, 1)).exceeded


async def test_a_refused_request_does_not_keep_the_bucket_full_for_longer(redis: Redis, bucket: str) -> None:
    for _ in range(5):
        await RedisRates(redis).take(bucket, 1)

    assert await redis.get(bucket) == "2"
    assert await redis.pttl(bucket) <= 60_000


async def test_the_key_starts_with_the_tenant(redis: Redis) -> None:
    principal = Principal(new_id(), new_id())

    await RedisRates(redis).take(rates.of_account(principal), 1)

    assert await redis.keys(f"{principal.tenant}:*") == [f"{principal.tenant}:rate:{principal.account}"]


async def test_without_redis_this_process_counts_for_itself(closed_port: int, bucket: str) -> None:
    redis = pool(f"redis://127.0.0.1:{closed_port}/0")

    limited = RedisRates(redis)

    taken = [await limited.take(bucket, 3) for _ in range(5)]

    assert [rate.exceeded for rate in taken] == [False] * 3 + [True] * 2
    await redis.aclose()


async def test_a_silent_redis_costs_its_deadline_once_in_a_while_and_not_each_time(
    silent_port: int, bucket: str
) -> None:
    redis = pool(f"redis://127.0.0.1:{silent_port}/0")
    limited = RedisRates(redis)

    began = time.monotonic()
    for _ in range(50):
        await limited.take(bucket, 100)
    took = time.monotonic() - began

    assert took < 1
    await redis.aclose()


async def test_redis_is_asked_again_after_a_rest(redis: Redis, closed_port: int, bucket: str) -> None:
    limited = RedisRates(pool(f"redis://127.0.0.1:{closed_port}/0"), rest=0.0)
    await limited.take(bucket, 1)

    limited._script.registered_client = redis  # as if the same server had come back
    rate = await limited.take(bucket, 1)

    assert not rate.exceeded
    assert await redis.get(bucket) == "1"


def test_this_process_remembers_a_bounded_number_of_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.rates.MOST_BUCKETS", 10)
    local = LocalRates()

    for n in range(100):
        local.take(f"address:10.0.0.{n}", 5)

    assert len(local._buckets) == 10


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.7", "address:10.0.0.7"),
        ("::ffff:10.0.0.7", "address:10.0.0.7"),
        ("2001:db8:1:2:3:4:5:6", "address:2001:db8:1:2::"),
        ("", "address:unknown"),
        ("unix:somewhere", "address:unknown"),
    ],
)
def test_an_address_is_one_subscriber(address: str, expected: str) -> None:
    assert rates.of_address(address) == expected
