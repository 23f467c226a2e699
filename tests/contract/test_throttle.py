"""Contract of Throttle: failed log-ins are counted on a real server, and in the process without one."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from domain.errors import LoginThrottled
from domain.names import new_id
from infra.redis import pool
from infra.throttle import PER_ACCOUNT, RedisThrottle

HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture(params=["redis", "without redis"])
async def throttle(request: pytest.FixtureRequest, redis: Redis, closed_port: int) -> AsyncIterator[RedisThrottle]:
    client = redis if request.param == "redis" else pool(f"redis://127.0.0.1:{closed_port}/0")
    async for key in redis.scan_iter("login:*"):
        await redis.delete(key)
    yield RedisThrottle(client, per_address=20)
    if client is not redis:
        await client.aclose()


@pytest.fixture
def name() -> str:
    return f"user-{new_id()}"


async def fail(throttle: RedisThrottle, name: str, address: str = HERE, times: int = PER_ACCOUNT) -> None:
    for _ in range(times):
        await throttle.enter(name, address)


async def test_the_sixth_failure_is_refused_for_fifteen_minutes(throttle: RedisThrottle, name: str) -> None:
    await fail(throttle, name)

    with pytest.raises(LoginThrottled) as refused:
        await throttle.enter(name, HERE)

    assert refused.value.retry_after is not None
    assert timedelta(minutes=14) < refused.value.retry_after <= timedelta(minutes=15)


async def test_the_victim_gets_in_from_elsewhere(throttle: RedisThrottle, name: str) -> None:
    await fail(throttle, name)

    await throttle.enter(name, ELSEWHERE)


async def test_a_name_is_one_whatever_its_case_and_width(throttle: RedisThrottle, name: str) -> None:
    await fail(throttle, name)

    with pytest.raises(LoginThrottled):
        await throttle.enter(name.upper().replace("U", "Ｕ"), HERE)


async def test_a_right_password_is_no_failure(throttle: RedisThrottle, name: str) -> None:
    for _ in range(30):
        await throttle.enter(name, HERE)
        await throttle.forgive(name, HERE)


async def test_an_address_has_a_limit_of_its_own(throttle: RedisThrottle) -> None:
    for _ in range(20):
        await throttle.enter(new_id(), HERE)

    with pytest.raises(LoginThrottled):
        await throttle.enter(new_id(), HERE)
    await throttle.enter(new_id(), ELSEWHERE)


async def test_a_refused_attempt_is_not_counted(throttle: RedisThrottle, name: str) -> None:
    await fail(throttle, name)
    for _ in range(30):
        with pytest.raises(LoginThrottled):
            await throttle.enter(name, HERE)

    await throttle.enter(new_id(), HERE)


async def test_a_household_of_ipv6_is_one_address(throttle: RedisThrottle, name: str) -> None:
    await fail(throttle, name, "2001:db8:1:2::1")

    with pytest.raises(LoginThrottled):
        await throttle.enter(name, "2001:db8:1:2:3::9")
    await throttle.enter(name, "2001:db8:1:3::1")


async def test_of_many_at_once_five_get_through(throttle: RedisThrottle, name: str) -> None:
    found = await asyncio.gather(*(throttle.enter(name, HERE) for _ in range(50)), return_exceptions=True)

    assert found.count(None) == PER_ACCOUNT


async def test_redis_holds_neither_names_nor_addresses(redis: Redis, name: str) -> None:
    await RedisThrottle(redis).enter(name, HERE)

    keys = [key async for key in redis.scan_iter("login:*")]
    assert keys
    assert not [key for key in keys if name in key or HERE in key]
    assert [key for key in keys if not 0 < await redis.ttl(key) <= 900] == []
