"""The provider's pace on a real server: what is learned, who is kept out for how long, and life without Redis."""

import asyncio
import heapq
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from domain.errors import MoorageError, ProviderRateLimited, ProviderUnavailable
from domain.names import new_id
from domain.pace import Lane
from infra.limiter import SECONDS, RedisLimiter
from infra.redis import pool
from infra.stack.addresses import Addresses

OWN = 2
TIMES = ("quiet", "forget", "at", "next_urgent", "next_patient")
WINDOW = 10  # seconds over which the pace before a refusal is measured


@pytest.fixture(scope="module")
async def redis(addresses: Addresses) -> AsyncIterator[Redis]:
    client = pool(f"{addresses.redis_url.removesuffix('/0')}/{OWN}")
    yield client
    await client.aclose()


@pytest.fixture
def limiter(redis: Redis) -> RedisLimiter:
    return RedisLimiter(redis)


@pytest.fixture
def lane() -> Lane:
    """One that nobody else has."""
    return Lane(f"{new_id()}:embedding")


def patient(lane: Lane) -> Lane:
    return Lane(lane.name, patient=True)


def limited(seconds: float | None = None) -> ProviderRateLimited:
    return ProviderRateLimited(retry_after=None if seconds is None else timedelta(seconds=seconds))


async def wait_of(limiter: RedisLimiter, lane: Lane) -> float | None:
    """Seconds this caller is kept out; None when it may call."""
    try:
        await limiter.enter(lane)
    except (ProviderRateLimited, ProviderUnavailable) as error:
        return (error.retry_after or timedelta.max).total_seconds()
    return None


async def refuse(limiter: RedisLimiter, lane: Lane, error: ProviderRateLimited | ProviderUnavailable) -> float:
    wait = await limiter.refused(lane, error)
    assert wait is not None
    return wait.total_seconds()


async def elapse(redis: Redis, lane: Lane, seconds: float) -> None:
    """Time passes for a lane: what it remembers is that much longer ago."""
    key = f"limiter:{lane.name}"
    kept = await redis.hmget(key, list(TIMES))
    moved = {name: float(value) - seconds for name, value in zip(TIMES, kept, strict=True) if value is not None}
    if moved:
        await redis.hset(key, mapping=moved)


async def come_back(redis: Redis, limiter: RedisLimiter, lane: Lane, arrivals: list[float]) -> list[float]:
    """When each call was made, if all come at these times, come back when they are told and are answered."""
    waiting, called = list(arrivals), []
    heapq.heapify(waiting)
    zero = time.monotonic()
    while waiting:
        at = heapq.heappop(waiting)
        ahead = at - (time.monotonic() - zero)  # of the clock, which goes on meanwhile
        await elapse(redis, lane, ahead)
        zero -= ahead
        wait = await wait_of(limiter, lane)
        if wait is not None:
            heapq.heappush(waiting, at + max(1.0, wait))  # Temporal retries no sooner than after a second
            continue
        called.append(at)
        await limiter.answered(lane)
    return called


def busiest_second(moments: list[float]) -> int:
    return max(Counter(int(moment) for moment in moments).values())


# --- pauses ---------------------------------------------------------------------------------------------------


async def test_nothing_is_limited_before_the_first_refusal(limiter: RedisLimiter, lane: Lane) -> None:
    waits = [await wait_of(limiter, lane) for _ in range(200)]

    assert waits == [None] * 200


async def test_a_pause_one_process_is_asked_for_is_kept_by_another(redis: Redis, lane: Lane) -> None:
    first, second = RedisLimiter(redis), RedisLimiter(redis)

    await first.refused(lane, limited(30))

    with pytest.raises(ProviderRateLimited) as caught:
        await second.enter(lane)
    assert caught.value.retry_after is not None
    assert timedelta(seconds=29) < caught.value.retry_after < timedelta(seconds=35)


async def test_calls_go_on_after_the_pause(redis: Redis, limiter: RedisLimiter, lane: Lane) -> None:
    await limiter.refused(lane, limited(30))

    await elapse(redis, lane, 28)
    before = await wait_of(limiter, lane)
    await elapse(redis, lane, 2)
    after = await wait_of(limiter, lane)

    assert before is not None
    assert after is None


async def test_other_lanes_do_not_pause(limiter: RedisLimiter, lane: Lane) -> None:
    await limiter.refused(lane, limited(30))

    assert await wait_of(limiter, Lane(f"{new_id()}:chat")) is None


async def test_without_a_time_to_wait_pauses_grow_from_one_second_to_sixty(
    redis: Redis, limiter: RedisLimiter, lane: Lane
) -> None:
    pauses = []
    for _ in range(8):
        await limiter.refused(lane, limited())
        seconds, micros = await redis.time()
        pause = float(await redis.hget(f"limiter:{lane.name}", "quiet") or 0) - (seconds + micros / 1e6)
        pauses.append(round(pause))
        await elapse(redis, lane, pause + 1)

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_an_answer_ends_the_growth(redis: Redis, limiter: RedisLimiter, lane: Lane) -> None:
    for _ in range(4):
        await limiter.refused(lane, limited())
        await elapse(redis, lane, 20)

    await limiter.answered(lane)

    assert await refuse(limiter, lane, limited()) < 1 + 2  # the pause and a place in the queue


async def test_refusals_of_calls_that_were_under_way_make_no_longer_pause(
    redis: Redis, limiter: RedisLimiter, lane: Lane
) -> None:
    for _ in range(50):
        await limiter.refused(lane, limited())

    await elapse(redis, lane, 1)

    assert await wait_of(limiter, lane) is None


async def test_a_longer_time_to_wait_makes_a_pause_longer(redis: Redis, limiter: RedisLimiter, lane: Lane) -> None:
    await limiter.refused(lane, limited(2))
    await limiter.refused(lane, limited(30))
    await limiter.refused(lane, limited(1))

    await elapse(redis, lane, 28)

    assert await wait_of(limiter, lane) is not None


async def test_whoever_has_to_wait_for_a_day_looks_in_every_few_minutes(
    redis: Redis, limiter: RedisLimiter, lane: Lane
) -> None:
    waits = [await refuse(limiter, lane, limited(86_400)) for _ in range(20)]
    await elapse(redis, lane, 3601)

    assert all(300 <= wait <= 600 for wait in waits)
    assert len(set(waits)) > 10
    assert await wait_of(limiter, lane) is None  # a pause longer than an hour is not believed


async def test_a_lane_is_kept_under_one_key_that_expires(redis: Redis, limiter: RedisLimiter, lane: Lane) -> None:
    await limiter.enter(lane)
    idle = await redis.ttl(f"limiter:{lane.name}")
    await limiter.refused(lane, limited(30))

    assert await redis.keys(f"*{lane.name}*") == [f"limiter:{lane.name}"]
    assert 0 < idle <= 60
    assert 120 < await redis.ttl(f"limiter:{lane.name}") <= 150


# --- outages --------------------------------------------------------------------------------------------------


async def test_single_failures_make_no_pause(limiter: RedisLimiter, lane: Lane) -> None:
    told = []
    for _ in range(3):
        told += [await limiter.refused(lane, ProviderUnavailable()) for _ in range(4)]
        await limiter.answered(lane)

    assert told == [None] * 12
    assert await wait_of(limiter, lane) is None


async def test_five_failures_in_a_row_are_an_outage_and_called_so(limiter: RedisLimiter, lane: Lane) -> None:
    told = [await limiter.refused(lane, ProviderUnavailable()) for _ in range(5)]

    assert told[:4] == [None] * 4
    assert told[4] is not None
    with pytest.raises(ProviderUnavailable):
        await limiter.enter(lane)


async def test_a_failure_with_a_time_to_wait_is_obeyed_at_once(limiter: RedisLimiter, lane: Lane) -> None:
    wait = await refuse(limiter, lane, ProviderUnavailable(retry_after=timedelta(seconds=20)))

    assert 20 <= wait + 0.1 < 22
    with pytest.raises(ProviderUnavailable):
        await limiter.enter(lane)


# --- no stampede ----------------------------------------------------------------------------------------------


async def test_two_hundred_refused_at_once_come_back_one_by_one(
    redis: Redis, limiter: RedisLimiter, lane: Lane
) -> None:
    queue = patient(lane)
    for _ in range(200):
        await limiter.enter(queue)

    arrivals = [await refuse(limiter, queue, limited(5)) for _ in range(200)]
    called = await come_back(redis, limiter, queue, arrivals)

    assert len(called) == 200
    assert min(called) >= 4.9
    assert busiest_second(called) <= 200 / WINDOW  # half of it at first, see below
    assert busiest_second([moment for moment in called if moment < 7]) <= 200 / WINDOW / 2 + 2
    assert len({round(moment, 2) for moment in called}) > 150
    assert max(called) < 5 + 200 / (200 / WINDOW / 2) + 5


async def test_after_an_outage_calls_stay_within_twice_the_steady_rate(
    redis: Redis, limiter: RedisLimiter, lane: Lane
) -> None:
    steady = 10
    queue = patient(lane)
    for _ in range(steady * WINDOW):
        await limiter.enter(queue)
    for _ in range(5):
        await limiter.refused(queue, ProviderUnavailable())

    new = [number / steady for number in range(steady * 30)]
    called = await come_back(redis, limiter, queue, [*new, *([0.0] * 200)])

    assert len(called) == len(new) + 200
    assert min(called) >= 0.5  # the pause is a second and began before the first came
    assert busiest_second(called) <= 2 * steady


async def test_refusals_in_a_row_halve_the_rate_once(redis: Redis, limiter: RedisLimiter, lane: Lane) -> None:
    queue = patient(lane)
    for _ in range(40 * WINDOW):
        await limiter.enter(queue)

    for _ in range(5):
        await limiter.refused(queue, limited(1))
        await elapse(redis, lane, 10)
    free = 0
    while await wait_of(limiter, queue) is None:
        free += 1

    assert 20 <= free < 38


async def test_success_brings_the_rate_back_and_more(redis: Redis, limiter: RedisLimiter, lane: Lane) -> None:
    for _ in range(10 * WINDOW):
        await limiter.enter(patient(lane))
    await limiter.refused(patient(lane), limited(1))

    called = await come_back(redis, limiter, patient(lane), [1 + number / 40 for number in range(40 * 40)])

    per_second = Counter(int(moment) for moment in called)
    assert per_second[2] <= 10
    assert max(per_second.values()) > 13


async def test_after_two_minutes_without_a_refusal_nothing_is_limited(
    redis: Redis, limiter: RedisLimiter, lane: Lane
) -> None:
    await limiter.refused(patient(lane), limited(1))
    await elapse(redis, lane, 122)

    waits = [await wait_of(limiter, patient(lane)) for _ in range(50)]

    assert waits == [None] * 50


async def test_somebody_who_waits_goes_before_documents(redis: Redis, limiter: RedisLimiter, lane: Lane) -> None:
    waits = [await refuse(limiter, patient(lane), limited(5)) for _ in range(100)]
    question = await wait_of(limiter, lane)
    await elapse(redis, lane, 5)
    while await wait_of(limiter, patient(lane)) is None:
        pass

    assert max(waits) > 90
    assert question is not None and question < 7
    assert await wait_of(limiter, lane) is None


# --- without Redis --------------------------------------------------------------------------------------------


@pytest.fixture
async def away(closed_port: int) -> AsyncIterator[RedisLimiter]:
    client = pool(f"redis://127.0.0.1:{closed_port}/0")
    yield RedisLimiter(client)
    await client.aclose()


@pytest.fixture
async def stalled(silent_port: int) -> AsyncIterator[RedisLimiter]:
    client = pool(f"redis://127.0.0.1:{silent_port}/0")
    yield RedisLimiter(client)
    await client.aclose()


async def test_without_redis_calls_pass(away: RedisLimiter, lane: Lane) -> None:
    await away.enter(lane)
    await away.answered(lane)

    assert await away.refused(lane, ProviderUnavailable()) is None
    assert await away.refused(lane, limited()) is None


async def test_a_redis_that_does_not_answer_costs_half_a_second_once(stalled: RedisLimiter, lane: Lane) -> None:
    began = time.perf_counter()

    for _ in range(5):
        await stalled.enter(lane)

    assert time.perf_counter() - began < SECONDS + 0.3


async def test_without_redis_a_pause_is_remembered(away: RedisLimiter, lane: Lane) -> None:
    wait = await refuse(away, lane, limited(30))

    with pytest.raises(MoorageError) as caught:
        await away.enter(lane)
    assert isinstance(caught.value, ProviderRateLimited)
    assert 29 < wait <= 60


async def test_redis_is_told_of_a_pause_it_missed(addresses: Addresses, redis: Redis, lane: Lane) -> None:
    port = urlsplit(addresses.redis_url).port
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        client = pool(
            f"{addresses.redis_url.replace(f':{port}', f':{door.getsockname()[1]}').removesuffix('/0')}/{OWN}"
        )
        limiter = RedisLimiter(client, rest=0)
        await limiter.refused(lane, limited(30))

        opened = await asyncio.start_server(lambda *ends: forward(*ends, port), sock=door)
        found = [await wait_of(limiter, lane), await wait_of(RedisLimiter(redis), lane)]
        await client.aclose()
        opened.close()

    assert all(wait is not None and 29 < wait < 35 for wait in found)


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int | None) -> None:
    """One connection, passed on."""
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
        sink.close()

    await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
