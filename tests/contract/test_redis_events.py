"""Runs' events on a real server, and without one: ends for who waits, and everything for who reads."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from domain.accounts import Principal
from domain.events import Event, EventKind
from infra.redis import pool
from infra.redis_events import RedisEvents
from infra.stack.addresses import Addresses

RUN = "chat:t:c:1"
OWN = 1


@pytest.fixture(scope="module")
async def redis(addresses: Addresses) -> AsyncIterator[Redis]:
    """A database of this suite's own, so that the readers of running platforms are not taken for ours."""
    client = pool(f"{addresses.redis_url.removesuffix('/0')}/{OWN}")
    yield client
    await client.aclose()


async def blocked(redis: Redis) -> list[dict[str, str]]:
    """The connections that wait for streams right now."""
    clients: list[dict[str, str]] = await redis.client_list()
    return [client for client in clients if int(client["db"]) == OWN and "b" in client["flags"]]


# --- ends -----------------------------------------------------------------------------------------------------


async def test_an_event_published_before_counts(events: RedisEvents, principal: Principal) -> None:
    await events.publish(principal, RUN, EventKind.DONE)

    async with events.follow(principal, RUN) as waiter:
        assert await waiter.closed(2)


@pytest.mark.parametrize("event", ["done", "error", "cancelled", "parked"])
async def test_an_event_published_while_waiting_ends_the_wait(
    events: RedisEvents, principal: Principal, event: str
) -> None:
    async with events.follow(principal, RUN) as waiter:
        wait = asyncio.create_task(waiter.closed(2))
        await asyncio.sleep(0)
        await events.publish(principal, RUN, event)

        assert await wait


async def test_an_event_of_another_process_ends_the_wait(
    events: RedisEvents, redis: Redis, principal: Principal
) -> None:
    other = RedisEvents(redis)
    async with events.follow(principal, RUN) as waiter:
        await other.publish(principal, RUN, EventKind.DONE)

        assert await waiter.closed(2)
    await other.aclose()


async def test_silence_is_false_after_the_time_asked_for(events: RedisEvents, principal: Principal) -> None:
    async with events.follow(principal, RUN) as waiter:
        assert not await waiter.closed(0.05)


async def test_an_event_that_closes_nothing_ends_no_wait(events: RedisEvents, principal: Principal) -> None:
    await events.publish(principal, RUN, EventKind.STEP)

    async with events.follow(principal, RUN) as waiter:
        assert not await waiter.closed(0.1)
        await events.publish(principal, RUN, EventKind.DONE)
        assert await waiter.closed(2)


async def test_a_follower_that_comes_later_is_told_of_what_others_have_read(
    events: RedisEvents, principal: Principal
) -> None:
    async with events.follow(principal, RUN) as first:
        await events.publish(principal, RUN, EventKind.DONE)
        assert await first.closed(2)
        async with events.follow(principal, RUN) as second:
            assert await second.closed(0)

    async with events.follow(principal, RUN) as third:
        assert await third.closed(2)


async def test_a_run_that_parks_and_goes_on_tells_its_waiter_of_both_ends(
    events: RedisEvents, principal: Principal
) -> None:
    async with events.follow(principal, RUN) as waiter:
        await events.publish(principal, RUN, EventKind.PARKED)
        assert await waiter.closed(2)
        await events.publish(principal, RUN, EventKind.RESUMED)
        assert not await waiter.closed(0.05)
        await events.publish(principal, RUN, EventKind.DONE)
        assert await waiter.closed(2)


async def test_events_belong_to_their_tenant(events: RedisEvents, principal: Principal, stranger: Principal) -> None:
    await events.publish(principal, RUN, EventKind.DONE)

    async with events.follow(stranger, RUN) as waiter:
        assert not await waiter.closed(0.1)


async def test_a_stream_followed_while_the_reader_waits_for_others_is_heard(
    events: RedisEvents, redis: Redis, principal: Principal
) -> None:
    async with events.follow(principal, "first"):
        while not await blocked(redis):
            await asyncio.sleep(0.001)
        await events.publish(principal, "second", EventKind.DONE)

        async with events.follow(principal, "second") as waiter:
            assert await waiter.closed(1)


async def test_two_hundred_waiters_have_one_reader(events: RedisEvents, redis: Redis, principal: Principal) -> None:
    runs = [f"run-{number}" for number in range(100)]

    async def wait(run: str) -> bool:
        async with events.follow(principal, run) as waiter:
            return await waiter.closed(10)

    waits = [asyncio.create_task(wait(run)) for run in runs * 2]
    while not (readers := await blocked(redis)):
        await asyncio.sleep(0.001)
    await asyncio.gather(*(events.publish(principal, run, EventKind.DONE) for run in runs))

    assert len(readers) == 1
    assert await asyncio.gather(*waits) == [True] * 200


async def test_thousands_of_follows_leave_nothing_behind(
    events: RedisEvents, redis: Redis, principal: Principal
) -> None:
    async with events.follow(principal, RUN) as waiter:
        await waiter.closed(0)
    tasks, connections = len(asyncio.all_tasks()), len(await redis.client_list())

    for number in range(2000):
        async with events.follow(principal, f"run-{number}") as waiter:
            await waiter.closed(0)

    assert len(asyncio.all_tasks()) == tasks
    assert len(await redis.client_list()) == connections
    assert await redis.keys(f"{principal.tenant}:*") == []


async def test_the_reader_comes_back_when_its_connection_is_cut(
    events: RedisEvents, redis: Redis, principal: Principal
) -> None:
    async with events.follow(principal, RUN) as waiter:
        while not (readers := await blocked(redis)):
            await asyncio.sleep(0.001)
        await redis.client_kill_filter(_id=readers[0]["id"])
        await events.publish(principal, RUN, EventKind.DONE)

        assert await waiter.closed(3)


async def test_closing_ends_the_reader(redis: Redis, principal: Principal) -> None:
    tasks = asyncio.all_tasks()
    events = RedisEvents(redis)
    async with events.follow(principal, RUN):
        while not await blocked(redis):
            await asyncio.sleep(0.001)

    await events.aclose()

    assert asyncio.all_tasks() == tasks
    while await blocked(redis):
        await asyncio.sleep(0.001)


async def test_a_stream_is_kept_for_an_hour_under_a_key_of_its_tenant(
    events: RedisEvents, redis: Redis, principal: Principal
) -> None:
    await events.publish(principal, RUN, EventKind.DONE)

    keys = await redis.keys(f"{principal.tenant}:*")

    assert sorted(keys) == [f"{principal.tenant}:events:{RUN}", f"{principal.tenant}:log:{RUN}"]
    for key in keys:
        assert 3600 - 60 < await redis.ttl(key) <= 3600


async def test_dropped_streams_are_gone(events: RedisEvents, redis: Redis, principal: Principal) -> None:
    await events.publish(principal, "one", EventKind.DONE)
    await events.publish(principal, "two", EventKind.DONE)

    await events.drop(principal, ["one", "two"])
    await events.drop(principal, [])

    assert await redis.keys(f"{principal.tenant}:*") == []


async def test_without_redis_publishing_fails_no_run_and_waiting_ends_in_time(
    away: Redis, principal: Principal
) -> None:
    events = RedisEvents(away)

    await events.publish(principal, RUN, EventKind.DONE)
    async with events.follow(principal, RUN) as waiter:
        heard = await waiter.closed(0.3)

    assert not heard
    await events.aclose()


# --- everything -----------------------------------------------------------------------------------------------


async def all_of(events: RedisEvents, principal: Principal) -> list[tuple[str, str, int]]:
    """(kind, text, attempt) of what is kept."""
    async with events.listen(principal, RUN) as listener:
        return [(event.kind.value, event.text, event.attempt) for event in listener.unread()]


async def test_a_listener_hears_what_was_and_what_comes_in_order(events: RedisEvents, principal: Principal) -> None:
    await events.note(principal, RUN, EventKind.STEP, {"name": "recall"})

    async with events.listen(principal, RUN) as listener:
        before = listener.unread()
        await events.note(principal, RUN, EventKind.STEP, {"name": "항구"}, 3)
        after = await listener.news(2)
        await events.publish(principal, RUN, EventKind.DONE)
        end = await listener.news(2)

    heard = [*before, *after, *end]
    assert [(event.kind, event.data.get("name"), event.attempt) for event in heard] == [
        (EventKind.STEP, "recall", 1),
        (EventKind.STEP, "항구", 3),
        (EventKind.DONE, None, 1),
    ]
    assert [event.id for event in heard] == sorted({event.id for event in heard})


async def test_two_listeners_of_one_run_hear_the_same_each_at_its_pace(
    events: RedisEvents, principal: Principal
) -> None:
    async with events.listen(principal, RUN) as quick, events.listen(principal, RUN) as slow:
        for number in range(20):
            await events.note(principal, RUN, EventKind.PROGRESS, {"done": number})
        heard: list[Event] = []
        while len(heard) < 20:
            heard += await quick.news(2)

        assert slow.unread() == heard


async def test_silence_is_no_news_after_the_time_asked_for(events: RedisEvents, principal: Principal) -> None:
    async with events.listen(principal, RUN) as listener:
        assert await listener.news(0.05) == []


async def test_who_waits_for_ends_is_not_told_of_words(events: RedisEvents, redis: Redis, principal: Principal) -> None:
    async with events.speak(principal, RUN, 1) as voice:
        voice.say("Six.")

    assert await redis.keys(f"{principal.tenant}:*") == [f"{principal.tenant}:log:{RUN}"]


async def test_an_answer_is_told_in_a_few_events_whatever_its_pieces(events: RedisEvents, principal: Principal) -> None:
    async with events.speak(principal, RUN, 1) as voice:
        voice.show([{"index": 1}])
        for number in range(1000):
            voice.say(f"{number} ")

    kinds, texts, _ = zip(*await all_of(events, principal), strict=True)
    assert "".join(texts) == "".join(f"{number} " for number in range(1000))
    assert kinds[0] == "sources"
    assert len(kinds) < 10


async def test_the_first_word_is_told_at_once(events: RedisEvents, principal: Principal) -> None:
    async with events.speak(principal, RUN, 1) as voice, events.listen(principal, RUN) as listener:
        voice.say("Six")

        assert [event.text for event in await listener.news(2)] == ["Six"]


async def test_a_later_attempt_takes_back_what_the_earlier_one_said(events: RedisEvents, principal: Principal) -> None:
    for attempt in (1, 2):
        async with events.speak(principal, RUN, attempt) as voice:
            voice.say("Six.")

    assert await all_of(events, principal) == [("token", "Six.", 1), ("reset", "", 2), ("token", "Six.", 2)]


async def test_sources_without_a_word_are_told_too(events: RedisEvents, principal: Principal) -> None:
    async with events.speak(principal, RUN, 1) as voice:
        voice.show([{"index": 1}])

    assert [kind for kind, *_ in await all_of(events, principal)] == ["sources"]


async def test_a_log_that_was_lost_is_said_again_from_the_beginning(
    events: RedisEvents, redis: Redis, principal: Principal
) -> None:
    async with events.listen(principal, RUN) as listener, events.speak(principal, RUN, 1) as voice:
        voice.show([{"index": 1}])
        voice.say("The lock opens")
        heard = await listener.news(2)
        await redis.flushdb()
        voice.say(" at six.")
        while not any(event.text.endswith("six.") for event in heard):
            heard += await listener.news(2)

    kept = [(kind, text) for kind, text, _ in await all_of(events, principal)]
    assert kept == [("reset", ""), ("sources", ""), ("token", "The lock opens at six.")]
    assert [event.kind.value for event in heard] == ["sources", "token", "reset", "sources", "token"]


async def test_a_voice_that_is_cancelled_has_said_what_it_said(events: RedisEvents, principal: Principal) -> None:
    async def speak() -> None:
        async with events.speak(principal, RUN, 1) as voice:
            for number in range(10):
                voice.say(f"{number} ")
            await asyncio.Event().wait()

    speaking = asyncio.create_task(speak())
    await asyncio.sleep(0.01)
    speaking.cancel()
    await asyncio.wait([speaking])

    assert "".join(text for _, text, _ in await all_of(events, principal)) == "0 1 2 3 4 5 6 7 8 9 "


async def test_without_redis_speaking_and_listening_fail_nobody(away: Redis, principal: Principal) -> None:
    events = RedisEvents(away)
    async with asyncio.timeout(5), events.speak(principal, RUN, 1) as voice, events.listen(principal, RUN) as listener:
        voice.say("Six.")
        heard = await listener.news(0.2)

    assert heard == []
    await events.aclose()


async def test_what_another_release_wrote_is_passed_over(
    events: RedisEvents, redis: Redis, principal: Principal
) -> None:
    for fields in ({"type": "dance", "attempt": "1", "data": "{}"}, {"type": "token"}, {"type": "token", "data": "{"}):
        await redis.xadd(f"{principal.tenant}:log:{RUN}", dict(fields))
    await events.note(principal, RUN, EventKind.STEP, {})

    assert [kind for kind, *_ in await all_of(events, principal)] == ["step"]


async def test_a_reader_is_closed_at_any_moment(redis: Redis, principal: Principal) -> None:
    """Redis-py was seen to lose a cancel; then the process never ended."""
    for turns in range(200):
        closing = RedisEvents(redis)
        async with closing.follow(principal, f"closing-{turns}"):
            await closing.publish(principal, f"closing-{turns}", EventKind.DONE)
            for _ in range(turns % 20):
                await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await closing.aclose()
