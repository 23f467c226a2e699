"""The embedding provider's adapter over real HTTP: order, length, cost, refusals."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np
import pytest
import pytest_asyncio

from domain import analysis, chunking
from domain.errors import (
    ContextTooLong,
    DimensionMismatch,
    MoorageError,
    ProviderAuth,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
)
from infra.openai.embedder import BATCH_TOKENS, OpenAIEmbedder, batches, guess
from tests.provider import words
from tests.provider.calls import LEFT
from tests.provider.script import CANARY, Fault
from tests.provider.server import ScriptedProvider

MODEL = "text-embedding-3-small"
TEXTS = ["Ships lie at their moorings.", "The Seine flows through Paris.", "파리는 프랑스의 수도이다."]


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider() as running:
        yield running


@pytest_asyncio.fixture
async def embedder(provider: ScriptedProvider) -> AsyncIterator[OpenAIEmbedder]:
    async with aclosing(embedder_at(provider.base_url)) as ready:
        yield ready


def embedder_at(base_url: str, *, model: str = MODEL, dimensions: int = 384, seconds: float = 10.0) -> OpenAIEmbedder:
    return OpenAIEmbedder(
        base_url=base_url,
        api_key="sk-test",
        model=model,
        dimensions=dimensions,
        query_seconds=seconds,
        passages_seconds=seconds,
    )


async def test_vectors_are_the_providers_in_the_order_of_the_texts(embedder: OpenAIEmbedder) -> None:
    embedded = await embedder.passages(TEXTS)

    expected = [words.embed(text, 384) for text in TEXTS]
    np.testing.assert_allclose(embedded.vectors, expected, atol=1e-6)
    assert embedded.vectors.dtype == np.float32


async def test_vectors_in_another_order_are_put_right(embedder: OpenAIEmbedder, provider: ScriptedProvider) -> None:
    provider.script(Fault(vectors="shuffled"))

    embedded = await embedder.passages(TEXTS)

    np.testing.assert_allclose(embedded.vectors, [words.embed(text, 384) for text in TEXTS], atol=1e-6)


async def test_vectors_of_any_length_become_unit_vectors(embedder: OpenAIEmbedder, provider: ScriptedProvider) -> None:
    provider.script(Fault(vectors="long"))

    embedded = await embedder.query(TEXTS[0])

    assert np.linalg.norm(embedded.vectors[0]) == pytest.approx(1.0, abs=1e-6)


async def test_vectors_travel_packed(embedder: OpenAIEmbedder, provider: ScriptedProvider) -> None:
    await embedder.query(TEXTS[0])

    assert provider.calls[0].body["encoding_format"] == "base64"


async def test_vectors_that_come_as_numbers_are_read_as_well(
    embedder: OpenAIEmbedder, provider: ScriptedProvider
) -> None:
    provider.script(Fault(vectors="unpacked"))

    embedded = await embedder.query(TEXTS[0])

    np.testing.assert_allclose(embedded.vectors[0], words.embed(TEXTS[0], 384), atol=1e-6)


async def test_tokens_and_model_are_what_the_provider_says(
    embedder: OpenAIEmbedder, provider: ScriptedProvider
) -> None:
    provider.script(Fault(model="embedding-of-today"))

    embedded = await embedder.passages(TEXTS)

    assert (embedded.tokens, embedded.model) == (provider.calls[0].prompt_tokens, "embedding-of-today")


@pytest.mark.parametrize("tokens", [-3, 0, 10**9, None], ids=["negative", "zero", "absurd", "null"])
async def test_tokens_that_cannot_be_true_are_guessed_upwards(
    embedder: OpenAIEmbedder, provider: ScriptedProvider, tokens: int | None
) -> None:
    provider.script(Fault(usage={"prompt_tokens": tokens, "total_tokens": tokens}))

    embedded = await embedder.passages(TEXTS)

    assert embedded.tokens == sum(guess(text) for text in TEXTS) > provider.calls[0].prompt_tokens
    assert embedded.estimated


async def test_a_guess_for_one_of_several_calls_is_a_guess_for_all(
    embedder: OpenAIEmbedder, provider: ScriptedProvider
) -> None:
    provider.script(Fault(largest=2), Fault.none(), Fault.absurd_usage())

    whole, halved = await embedder.passages(TEXTS[:2]), await embedder.passages(TEXTS)

    assert (whole.estimated, halved.estimated) == (False, True)


async def test_a_generation_names_all_that_makes_its_vectors(embedder: OpenAIEmbedder) -> None:
    generation = embedder.generation

    assert generation.name == f"{MODEL}-384-a{analysis.VERSION}-c{chunking.VERSION}"
    assert generation.dimensions == 384


async def test_relevance_is_unknown_and_calls_are_paid(embedder: OpenAIEmbedder) -> None:
    assert embedder.relevance is None
    assert embedder.billable


async def test_a_model_that_can_be_resized_is_told_its_dimensions(provider: ScriptedProvider) -> None:
    async with aclosing(embedder_at(provider.base_url, dimensions=96)) as embedder:
        embedded = await embedder.query(TEXTS[0])

    assert embedded.vectors.shape == (1, 96)


async def test_another_model_is_not_told_its_dimensions(provider: ScriptedProvider) -> None:
    async with aclosing(embedder_at(provider.base_url, model="bge-small")) as embedder:
        await embedder.query(TEXTS[0])

    assert "dimensions" not in provider.calls[0].body


async def test_no_texts_cost_no_call(embedder: OpenAIEmbedder, provider: ScriptedProvider) -> None:
    embedded = await embedder.passages([])

    assert embedded.vectors.shape == (0, 384)
    assert provider.calls == []


async def test_a_batch_that_is_too_large_goes_in_halves(embedder: OpenAIEmbedder, provider: ScriptedProvider) -> None:
    texts = [f"text number {number}" for number in range(10)]
    provider.script(Fault(largest=3, times=100))

    embedded = await embedder.passages(texts)

    answered = [call for call in provider.calls if call.status == 200]
    assert [text for call in answered for text in call.input] == texts
    assert embedded.tokens == sum(call.prompt_tokens for call in answered)
    np.testing.assert_allclose(embedded.vectors, [words.embed(text, 384) for text in texts], atol=1e-6)


async def test_a_single_text_that_is_too_large_is_refused(embedder: OpenAIEmbedder, provider: ScriptedProvider) -> None:
    provider.script(Fault(status=413))

    with pytest.raises(ContextTooLong):
        await embedder.passages(TEXTS[:1])

    assert len(provider.calls) == 1


def test_batches_hold_no_more_texts_than_a_call_may() -> None:
    sizes = [len(batch) for batch in batches(["word"] * 600)]

    assert sizes == [256, 256, 88]


def test_batches_hold_no_more_tokens_than_a_call_may() -> None:
    texts = ["가" * 40_000] * 5 + ["x" * 1_000_000, "word"]

    found = list(batches(texts))

    assert [text for batch in found for text in batch] == texts
    assert all(sum(map(guess, batch)) <= BATCH_TOKENS or len(batch) == 1 for batch in found)
    assert len(found) < len(texts)


FAULTS = {
    "wrong dimension": (Fault(vectors="short"), DimensionMismatch),
    "too few": (Fault(vectors="few"), ProviderMalformed),
    "not a number": (Fault(vectors="nan"), ProviderMalformed),
    "no direction": (Fault(vectors="zero"), ProviderMalformed),
    "a web page": (Fault.malformed(), ProviderMalformed),
    "an empty body": (Fault.malformed(""), ProviderMalformed),
    "JSON of another shape": (Fault.malformed(f'{{"data": ["{CANARY}"]}}'), ProviderMalformed),
    "no base64": (Fault.malformed(f'{{"data": [{{"index": 0, "embedding": "{CANARY}!"}}]}}'), ProviderMalformed),
    "wrong key": (Fault(status=401), ProviderAuth),
    "rate limit": (Fault(status=429), ProviderRateLimited),
    "bad request": (Fault(status=400), ProviderRefused),
    "internal error": (Fault(status=500), ProviderUnavailable),
    "cut": (Fault.cut_after(0), ProviderUnavailable),
}


@pytest.mark.parametrize(("fault", "expected"), FAULTS.values(), ids=FAULTS)
async def test_a_fault_gets_its_name_after_one_call_and_nobodys_words(
    embedder: OpenAIEmbedder, provider: ScriptedProvider, fault: Fault, expected: type[MoorageError]
) -> None:
    provider.script(fault)

    with pytest.raises(MoorageError) as caught:
        await embedder.passages(TEXTS)

    error = caught.value
    assert type(error) is expected
    assert len(provider.calls) == 1
    assert not any(word in f"{error} {error.detail}" for word in (CANARY, "Seine", "moorings"))
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


async def test_silence_has_a_limit_and_ends_the_call(provider: ScriptedProvider) -> None:
    provider.script(Fault.hang())

    async with aclosing(embedder_at(provider.base_url, seconds=0.3)) as embedder:
        with pytest.raises(ProviderUnavailable):
            await embedder.query(TEXTS[0])
        calls = await provider.idle()

    assert [call.status for call in calls] == [LEFT]
