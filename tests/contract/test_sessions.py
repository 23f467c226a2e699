"""Contract of Sessions: families of refresh tokens on a real server, and without one."""

import asyncio
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from domain.accounts import Login, Principal, Verdict
from domain.errors import RedisUnavailable, Unauthenticated
from domain.names import new_id
from infra.sessions import RedisSessions

DAY = 86_400


@pytest.fixture
def login(principal: Principal) -> Login:
    return Login(principal, new_id(), 3)


def key(login: Login) -> str:
    return f"{login.principal.tenant}:session:{login.principal.account}:{login.family}"


async def age(redis: Redis, login: Login, seconds: float) -> None:
    """As if the last refresh had been so long ago."""
    rotated = float(await redis.hget(key(login), "rotated") or 0)
    await redis.hset(key(login), "rotated", rotated - seconds)


async def verdict(sessions: RedisSessions, token: str) -> Verdict:
    return (await sessions.refresh(token)).verdict


async def test_a_token_becomes_another_of_the_same_login(sessions: RedisSessions, login: Login) -> None:
    token = await sessions.begin(login)

    refreshed = await sessions.refresh(token)

    assert (refreshed.verdict, refreshed.login) == (Verdict.ROTATED, login)
    assert refreshed.token != token
    assert sessions.whose(refreshed.token) == (login.principal, login.family)


async def test_a_chain_of_refreshes_holds(sessions: RedisSessions, login: Login) -> None:
    tokens = [await sessions.begin(login)]
    for _ in range(20):
        tokens.append((await sessions.refresh(tokens[-1])).token)

    assert len(set(tokens)) == 21


async def test_a_lost_answer_can_be_fetched_again(sessions: RedisSessions, login: Login) -> None:
    token = await sessions.begin(login)
    lost = await sessions.refresh(token)

    again = await sessions.refresh(token)

    assert again.token == lost.token
    assert await verdict(sessions, again.token) is Verdict.ROTATED


async def test_it_can_be_fetched_for_ten_seconds(sessions: RedisSessions, redis: Redis, login: Login) -> None:
    token = await sessions.begin(login)
    await sessions.refresh(token)

    await age(redis, login, 9)
    assert await verdict(sessions, token) is Verdict.ROTATED

    await age(redis, login, 2)
    assert await verdict(sessions, token) is Verdict.REUSED


async def test_fetching_it_again_does_not_prolong_the_ten_seconds(
    sessions: RedisSessions, redis: Redis, login: Login
) -> None:
    token = await sessions.begin(login)
    await sessions.refresh(token)
    for _ in range(3):
        await age(redis, login, 3)
        assert await verdict(sessions, token) is Verdict.ROTATED

    await age(redis, login, 3)

    assert await verdict(sessions, token) is Verdict.REUSED


async def test_a_token_whose_successor_was_used_ends_the_family(sessions: RedisSessions, login: Login) -> None:
    stolen = await sessions.begin(login)
    second = (await sessions.refresh(stolen)).token
    third = (await sessions.refresh(second)).token

    reused = await sessions.refresh(stolen)

    assert (reused.verdict, reused.login, reused.token) == (Verdict.REUSED, login, "")
    assert await verdict(sessions, third) is Verdict.UNKNOWN
    assert await verdict(sessions, second) is Verdict.UNKNOWN


async def test_twenty_at_once_get_one_successor(sessions: RedisSessions, redis: Redis, login: Login) -> None:
    token = await sessions.begin(login)

    found = await asyncio.gather(*(sessions.refresh(token) for _ in range(20)))

    assert {one.verdict for one in found} == {Verdict.ROTATED}
    assert len({one.token for one in found}) == 1
    assert await redis.keys(f"{login.principal.tenant}:*") == [key(login)]
    assert await verdict(sessions, found[0].token) is Verdict.ROTATED


async def test_families_of_an_account_know_nothing_of_each_other(sessions: RedisSessions, login: Login) -> None:
    other = Login(login.principal, new_id(), login.epoch)
    token, others = await sessions.begin(login), await sessions.begin(other)

    await sessions.end(login)

    assert await verdict(sessions, token) is Verdict.UNKNOWN
    assert await verdict(sessions, others) is Verdict.ROTATED


async def test_a_token_that_names_another_tenant_is_unknown(
    sessions: RedisSessions, login: Login, stranger: Principal
) -> None:
    token = await sessions.begin(login)

    moved = token.replace(login.principal.tenant, stranger.tenant)

    assert await verdict(sessions, moved) is Verdict.UNKNOWN
    assert await verdict(sessions, token) is Verdict.ROTATED


async def test_redis_holds_no_token(sessions: RedisSessions, redis: Redis, login: Login) -> None:
    token = await sessions.begin(login)
    successor = (await sessions.refresh(token)).token

    kept = " ".join((await redis.hgetall(key(login))).values())

    assert token.rpartition(".")[2] not in kept
    assert successor.rpartition(".")[2] not in kept


async def test_a_family_lives_for_fourteen_days_from_its_last_refresh(
    sessions: RedisSessions, redis: Redis, login: Login
) -> None:
    token = await sessions.begin(login)
    await redis.expire(key(login), 60)

    await sessions.refresh(token)

    assert 14 * DAY - 60 < await redis.ttl(key(login)) <= 14 * DAY


async def test_a_family_lives_for_thirty_days_at_most(sessions: RedisSessions, redis: Redis, login: Login) -> None:
    token = await sessions.begin(login)
    ends = float(await redis.hget(key(login), "ends") or 0)
    seconds, _ = await redis.time()
    assert ends - seconds == pytest.approx(30 * DAY, abs=60)
    await redis.hset(key(login), "ends", seconds + DAY)

    await sessions.refresh(token)

    assert DAY - 60 < await redis.ttl(key(login)) <= DAY


@pytest.mark.parametrize("token", ["", "mrt_", "x" * 300, f"mrt_{'0' * 32}.{'0' * 32}.*.{'A' * 43}", "mrt_\ud800"])
async def test_what_is_no_refresh_token_is_refused_unasked(away: Redis, token: str) -> None:
    with pytest.raises(Unauthenticated):
        await RedisSessions(away).refresh(token)


async def test_a_server_that_lives_answers_a_ping(sessions: RedisSessions) -> None:
    await sessions.ping()


async def test_without_redis_everyone_is_told(away: Redis, sessions: RedisSessions, login: Login) -> None:
    lost, token = RedisSessions(away), await sessions.begin(login)

    for call in (lost.begin(login), lost.refresh(token), lost.end(login), lost.ping()):
        with pytest.raises(RedisUnavailable):
            await call


async def test_a_session_that_cannot_be_kept_is_told_within_a_second(silent: Redis, login: Login) -> None:
    async with asyncio.timeout(1.5):
        with pytest.raises(RedisUnavailable):
            await RedisSessions(silent, timedelta(days=14)).begin(login)
