"""What hot state promises: windows and event streams on a real server, and without one."""

import asyncio
import json

import pytest
from redis.asyncio import Redis

from domain.accounts import Principal
from domain.errors import RedisUnavailable
from domain.window import Exchange, Past
from infra.redis import RedisWindows
from infra.redis_tenant import RedisTenant

PAST = Past("인구를 \n물었다.", 3, (Exchange(4, "서울의 인구는?", 12, 'About "9.4" million.\n', 9),))
# --- windows --------------------------------------------------------------------------------------------------


async def test_a_window_comes_back_as_it_was_put(windows: RedisWindows, principal: Principal) -> None:
    await windows.put(principal, "c", 2, PAST)

    assert await windows.get(principal, "c", 2) == PAST


async def test_a_window_that_ends_elsewhere_is_not_there(windows: RedisWindows, principal: Principal) -> None:
    await windows.put(principal, "c", 2, PAST)

    assert await windows.get(principal, "c", 3) is None


async def test_a_window_that_was_never_put_is_not_there(windows: RedisWindows, principal: Principal) -> None:
    assert await windows.get(principal, "c", 1) is None


async def test_a_dropped_window_is_gone(windows: RedisWindows, principal: Principal) -> None:
    await windows.put(principal, "c", 2, PAST)

    await windows.drop(principal, "c")

    assert await windows.get(principal, "c", 2) is None


async def test_a_window_belongs_to_its_tenant(windows: RedisWindows, principal: Principal, stranger: Principal) -> None:
    await windows.put(principal, "c", 2, PAST)

    assert await windows.get(stranger, "c", 2) is None


async def test_a_window_is_kept_for_a_week_under_a_key_of_its_tenant(
    windows: RedisWindows, redis: Redis, principal: Principal
) -> None:
    await windows.put(principal, "c", 2, PAST)

    assert await redis.keys(f"{principal.tenant}:*") == [f"{principal.tenant}:window:c"]
    assert 7 * 86_400 - 60 < await redis.ttl(f"{principal.tenant}:window:c") <= 7 * 86_400


@pytest.mark.parametrize(
    "kept",
    [
        "",
        "[]",
        '{"before": 2}',
        json.dumps({"before": 2, "lines": [{"speaker": "user", "text": "x"}]}),
        json.dumps({"before": 2, "summary": "", "until": 0, "exchanges": [{"seq": 1}]}),
    ],
)
async def test_a_window_of_another_shape_is_not_there(
    windows: RedisWindows, redis: Redis, principal: Principal, kept: str
) -> None:
    await redis.set(f"{principal.tenant}:window:c", kept)

    assert await windows.get(principal, "c", 2) is None


async def test_without_redis_there_is_no_window_and_nobody_fails(away: Redis, principal: Principal) -> None:
    windows = RedisWindows(away)

    await windows.put(principal, "c", 2, PAST)

    assert await windows.get(principal, "c", 2) is None


async def test_without_redis_a_window_cannot_be_dropped_silently(away: Redis, principal: Principal) -> None:
    with pytest.raises(RedisUnavailable):
        await RedisWindows(away).drop(principal, "c")


async def test_a_server_that_does_not_answer_costs_a_second(silent: Redis, principal: Principal) -> None:
    async with asyncio.timeout(1.5):
        assert await RedisWindows(silent).get(principal, "c", 2) is None


async def test_more_calls_than_connections_wait_for_one(windows: RedisWindows, principal: Principal) -> None:
    await windows.put(principal, "c", 2, PAST)

    found = await asyncio.gather(*(windows.get(principal, "c", 2) for _ in range(200)))

    assert found == [PAST] * 200


async def test_a_cancelled_call_leaves_no_reply_behind_for_the_next(redis: Redis, principal: Principal) -> None:
    key = f"{principal.tenant}:test"
    call = asyncio.ensure_future(redis.blpop([key], timeout=1))
    while not [client for client in await redis.client_list() if client["cmd"] == "blpop"]:
        await asyncio.sleep(0)

    call.cancel()
    await asyncio.wait([call])

    assert [await redis.echo(str(number)) for number in range(40)] == [str(number) for number in range(40)]


# --- a whole tenant --------------------------------------------------------------------------------------------


async def test_an_erased_tenant_has_no_keys_and_the_others_keep_theirs(
    redis: Redis, principal: Principal, stranger: Principal
) -> None:
    tenant = RedisTenant(redis)
    for who in (principal, stranger):
        await redis.mset({f"{who.tenant}:window:{number}": "x" for number in range(2500)})
    before = await tenant.total(principal), await tenant.total(stranger)

    await tenant.erase(principal)

    assert before == (2500, 2500)
    assert (await tenant.total(principal), await tenant.total(stranger)) == (0, 2500)


async def test_a_tenant_is_not_said_to_be_erased_without_redis(away: Redis, principal: Principal) -> None:
    for call in (RedisTenant(away).total, RedisTenant(away).erase):
        with pytest.raises(RedisUnavailable):
            await call(principal)
