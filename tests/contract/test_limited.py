"""The provider's adapters at the pace it allows, over real HTTP: two clients with limiters of their own, one Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from domain.chat import Completion, Line, Prompt, Speaker
from domain.errors import MoorageError, ProviderAuth, ProviderRateLimited, ProviderUnavailable
from infra.limited import LimitedAnswerer, LimitedEmbedder
from infra.limiter import RedisLimiter
from infra.memory import StubEmbedder
from infra.openai import OpenAIAnswerer, OpenAIEmbedder
from infra.redis import pool
from infra.stack.addresses import Addresses
from tests.provider.script import Fault
from tests.provider.server import ScriptedProvider

PROMPT = Prompt(
    question="Is it open?",
    passages=(),
    history=(),
    use_rag=False,
    model=None,
    temperature=0.2,
    max_tokens=64,
)
OWN = 2


@pytest.fixture(scope="module")
async def redis(addresses: Addresses) -> AsyncIterator[Redis]:
    client = pool(f"{addresses.redis_url.removesuffix('/0')}/{OWN}")
    yield client
    await client.aclose()


@pytest_asyncio.fixture
async def provider(redis: Redis) -> AsyncIterator[ScriptedProvider]:
    """Ports come again: what was learned of one is forgotten."""
    async with ScriptedProvider() as running:
        yield running
    await redis.flushdb()


@pytest.fixture
async def embedders(redis: Redis, provider: ScriptedProvider) -> AsyncIterator[list[LimitedEmbedder]]:
    """As two processes have them."""
    async with aclosing(openai_embedder(provider)) as one, aclosing(openai_embedder(provider)) as two:
        yield [LimitedEmbedder(each, RedisLimiter(redis), provider.base_url) for each in (one, two)]


@pytest.fixture
async def answerer(redis: Redis, provider: ScriptedProvider) -> AsyncIterator[LimitedAnswerer]:
    plain = OpenAIAnswerer(base_url=provider.base_url, api_key="sk", model="gpt-4o-mini", tokenizer=StubEmbedder())
    async with aclosing(plain):
        yield LimitedAnswerer(plain, RedisLimiter(redis), provider.base_url)


def openai_embedder(provider: ScriptedProvider) -> OpenAIEmbedder:
    return OpenAIEmbedder(base_url=provider.base_url, api_key="sk", model="text-embedding-3-small", dimensions=8)


async def read(answerer: LimitedAnswerer) -> list[str | Completion]:
    return [piece async for piece in answerer.answer(PROMPT)]


async def test_a_retry_after_told_to_one_client_is_obeyed_by_another(
    embedders: list[LimitedEmbedder], provider: ScriptedProvider
) -> None:
    provider.script(Fault(status=429, retry_after=1))
    first, second = embedders

    with pytest.raises(ProviderRateLimited):
        await first.passages(["a"])
    with pytest.raises(ProviderRateLimited) as caught:
        await second.passages(["b"])
    assert len(provider.calls) == 1
    assert caught.value.retry_after is not None
    await asyncio.sleep(caught.value.retry_after.total_seconds())
    await second.passages(["b"])

    refused, answered = provider.calls
    assert answered.at - refused.at >= timedelta(seconds=1)


async def test_a_refused_caller_is_told_when_to_come_back_even_if_the_provider_does_not_say(
    embedders: list[LimitedEmbedder], provider: ScriptedProvider
) -> None:
    provider.script(Fault(status=429))

    with pytest.raises(ProviderRateLimited) as caught:
        await embedders[0].passages(["a"])

    assert caught.value.retry_after is not None
    assert timedelta(seconds=0.9) < caught.value.retry_after < timedelta(seconds=3)


async def test_a_search_waits_for_the_same_pause_as_a_document(
    embedders: list[LimitedEmbedder], provider: ScriptedProvider
) -> None:
    provider.script(Fault(status=429, retry_after=30))

    with pytest.raises(ProviderRateLimited):
        await embedders[0].passages(["a"])
    with pytest.raises(ProviderRateLimited):
        await embedders[1].query("b")

    assert len(provider.calls) == 1


async def test_a_pause_for_embeddings_is_none_for_answers(
    embedders: list[LimitedEmbedder], answerer: LimitedAnswerer, provider: ScriptedProvider
) -> None:
    provider.script(Fault(status=429, retry_after=30, kind="embedding"))

    with pytest.raises(ProviderRateLimited):
        await embedders[0].passages(["a"])

    assert isinstance((await read(answerer))[-1], Completion)


async def test_an_answer_comes_through_piece_by_piece(answerer: LimitedAnswerer) -> None:
    *pieces, completion = await read(answerer)

    assert len(pieces) > 1
    assert isinstance(completion, Completion)
    assert "".join(map(str, pieces)) == completion.text


async def test_answers_condensed_questions_and_summaries_share_a_pause(
    answerer: LimitedAnswerer, provider: ScriptedProvider
) -> None:
    provider.script(Fault(status=429, retry_after=30))

    with pytest.raises(ProviderRateLimited):
        await read(answerer)
    with pytest.raises(ProviderRateLimited):
        await answerer.condense("And then?", [Line(Speaker.USER, "Is it open?")], None)
    with pytest.raises(ProviderRateLimited):
        await answerer.summarize("", [Line(Speaker.USER, "Is it open?")], None)

    assert len(provider.calls) == 1


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "429"])
async def test_a_refusal_in_the_middle_of_an_answer_counts(
    answerer: LimitedAnswerer, provider: ScriptedProvider, code: str
) -> None:
    provider.script(Fault.error_after(2, code))

    for _ in range(2):
        with pytest.raises(ProviderRateLimited):
            await read(answerer)

    assert len(provider.calls) == 1


async def test_a_provider_that_is_down_is_left_alone_after_five_calls(
    embedders: list[LimitedEmbedder], provider: ScriptedProvider
) -> None:
    provider.script(Fault(status=500, times=100))

    for number in range(10):
        with pytest.raises(ProviderUnavailable):
            await embedders[number % 2].passages(["a"])

    assert len(provider.calls) == 5


async def test_what_no_waiting_mends_pauses_nothing(
    embedders: list[LimitedEmbedder], provider: ScriptedProvider
) -> None:
    provider.script(Fault(status=429, code="insufficient_quota", retry_after=30))

    with pytest.raises(ProviderAuth):
        await embedders[0].passages(["a"])
    await embedders[0].passages(["a"])

    assert len(provider.calls) == 2


async def test_errors_stay_without_cause(embedders: list[LimitedEmbedder], provider: ScriptedProvider) -> None:
    provider.script(Fault(status=429))

    with pytest.raises(MoorageError) as caught:
        await embedders[0].passages(["a"])

    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_the_words_of_what_is_wrapped_pass(
    embedders: list[LimitedEmbedder], answerer: LimitedAnswerer, provider: ScriptedProvider
) -> None:
    plain = openai_embedder(provider)
    embedder = embedders[0]

    assert (embedder.model, embedder.generation) == (plain.model, plain.generation)
    assert (embedder.relevance, embedder.billable) == (None, True)
    assert (answerer.billable, answerer.models, answerer.talks) == (True, ("gpt-4o-mini",), True)
    await plain.aclose()
