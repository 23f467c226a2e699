"""Contract of Throttle: failed log-ins are counted on a real server, and in the process without one."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from domain.errors import DatabaseUnavailable, InvalidCredentials, LoginThrottled
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
        with pytest.raises(InvalidCredentials):
            async with throttle.attempt(name, address):
                raise InvalidCredentials


async def succeed(throttle: RedisThrottle, name: str, address: str = HERE) -> None:
    async with throttle.attempt(name, address):
        await asyncio.sleep(0)


async def test_the_sixth_failure_is_refused_for_fifteen_minutes(throttle: RedisThrottle, name: str) -> None:
    await fail(throttle, name)

    with pytest.raises(LoginThrottled) as refused:
        await succeed(throttle, name)

    assert refused.value.retry_after is not None
    assert timedelta(minutes=14) < refused.value.retry_after <= timedelta(minutes=15)


async def test_the_victim_gets_in_from_elsewhere(throttle: RedisThrottle, name: str) -> None:
    await fail(throttle, name)

    await succeed(throttle, name, ELSEWHERE)


async def test_a_name_is_one_whatever_its_case_and_width(throttle: RedisThrottle, name: str) -> None:
    await fail(throttle, name)

    with pytest.raises(LoginThrottled):
        await succeed(throttle, name.upper().replace("U", "Ｕ"))


async def test_a_right_password_is_no_failure_and_forgives_those_before(throttle: RedisThrottle, name: str) -> None:
    for _ in range(4):
        await fail(throttle, name, times=4)
        await succeed(throttle, name)


async def test_what_fails_for_another_reason_is_not_counted(throttle: RedisThrottle, name: str) -> None:
    await fail(throttle, name, times=4)
    for _ in range(30):
        with pytest.raises(DatabaseUnavailable):
            async with throttle.attempt(name, HERE):
                raise DatabaseUnavailable

    await fail(throttle, name, times=1)
    with pytest.raises(LoginThrottled):
        await succeed(throttle, name)


async def test_an_address_has_a_limit_of_its_own(throttle: RedisThrottle) -> None:
    for _ in range(20):
        await fail(throttle, new_id(), times=1)

    with pytest.raises(LoginThrottled):
        await succeed(throttle, new_id())
    await succeed(throttle, new_id(), ELSEWHERE)


async def test_a_refused_attempt_is_not_counted(throttle: RedisThrottle, name: str) -> None:
    await fail(throttle, name)
    for _ in range(30):
        with pytest.raises(LoginThrottled):
            await succeed(throttle, name)

    await succeed(throttle, new_id())


async def test_a_household_of_ipv6_is_one_address(throttle: RedisThrottle, name: str) -> None:
    await fail(throttle, name, "2001:db8:1:2::1")

    with pytest.raises(LoginThrottled):
        await succeed(throttle, name, "2001:db8:1:2:3::9")
    await succeed(throttle, name, "2001:db8:1:3::1")


async def test_of_many_guesses_at_once_five_are_heard(throttle: RedisThrottle, name: str) -> None:
    async def guess() -> None:
        async with throttle.attempt(name, HERE):
            await asyncio.sleep(0)
            raise InvalidCredentials

    found = await asyncio.gather(*(guess() for _ in range(50)), return_exceptions=True)

    assert len([one for one in found if isinstance(one, InvalidCredentials)]) == PER_ACCOUNT
    assert len([one for one in found if isinstance(one, LoginThrottled)]) == 45


async def test_of_many_right_passwords_at_once_none_is_refused(throttle: RedisThrottle, name: str) -> None:
    await asyncio.gather(*(succeed(throttle, name) for _ in range(50)))


async def test_a_redis_that_does_not_answer_is_waited_for_once(silent_port: int, name: str) -> None:
    client = pool(f"redis://127.0.0.1:{silent_port}/0")
    throttle = RedisThrottle(client)

    async with asyncio.timeout(1):
        for _ in range(20):
            await succeed(throttle, name)

    await client.aclose()


async def test_redis_holds_neither_names_nor_addresses(redis: Redis, name: str) -> None:
    await fail(RedisThrottle(redis), name, times=1)

    keys = [key async for key in redis.scan_iter("login:*")]
    assert keys
    assert not [key for key in keys if name in key or HERE in key]
    assert [key for key in keys if not 0 < await redis.ttl(key) <= 900] == []
