"""The language model's adapter against a provider over real HTTP: what it yields, what it pays, how it fails."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import pytest_asyncio

from domain.chat import Completion, Finish, Line, Prompt, Speaker
from domain.errors import (
    ContextTooLong,
    MoorageError,
    ProviderAuth,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
    UnknownModel,
)
from domain.search import Hit, Passage
from infra.openai.answerer import OpenAIAnswerer, Patience
from infra.openai.client import is_openai
from tests.contract.tokenizer import WordTokenizer
from tests.provider.calls import LEFT
from tests.provider.script import CANARY, Ask, Fault
from tests.provider.server import ScriptedProvider

HIT = Hit("c1", "d1", 1, 0, "Paris is the capital of France. It lies on the Seine.", 0, 53, None, 1.0)
PROMPT = Prompt(
    question="What is the capital of France?",
    passages=(Passage(HIT, "france.txt", "France"),),
    history=(),
    use_rag=True,
    model=None,
    temperature=0.2,
    max_tokens=256,
)
HISTORY = [
    Line(Speaker.USER, "What is the capital of France?"),
    Line(Speaker.ASSISTANT, "Paris is the capital of France. [1]"),
]


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider() as running:
        yield running


@pytest_asyncio.fixture
async def answerer(provider: ScriptedProvider) -> AsyncIterator[OpenAIAnswerer]:
    async with aclosing(answerer_at(provider.base_url)) as ready:
        yield ready


def answerer_at(base_url: str, *, model: str = "gpt-4o-mini", patience: Patience | None = None) -> OpenAIAnswerer:
    return OpenAIAnswerer(
        base_url=base_url, api_key="sk-test", model=model, tokenizer=WordTokenizer(), patience=patience
    )


async def read(answerer: OpenAIAnswerer, prompt: Prompt = PROMPT) -> tuple[list[str], Completion]:
    """(pieces, completion) of one answer; fails unless exactly one completion comes, and last."""
    *pieces, completion = [piece async for piece in answerer.answer(prompt)]
    assert isinstance(completion, Completion)
    return [piece for piece in pieces if isinstance(piece, str)], completion


async def test_pieces_concatenate_to_the_text_of_the_completion(answerer: OpenAIAnswerer) -> None:
    pieces, completion = await read(answerer)

    assert len(pieces) > 1
    assert "".join(pieces) == completion.text == "Paris is the capital of France. [1]"


async def test_a_completion_says_how_it_ended_and_who_answered(
    answerer: OpenAIAnswerer, provider: ScriptedProvider
) -> None:
    provider.script(Fault(model="gpt-4o-mini-2024-07-18"))

    _, completion = await read(answerer)

    assert (completion.finish, completion.model, completion.billable) == (Finish.STOP, "gpt-4o-mini-2024-07-18", True)


async def test_usage_is_what_the_provider_counted(answerer: OpenAIAnswerer, provider: ScriptedProvider) -> None:
    _, completion = await read(answerer)

    call = provider.calls[0]
    assert (completion.prompt_tokens, completion.completion_tokens) == (call.prompt_tokens, call.completion_tokens)
    assert not completion.estimated


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")  # as the adapter does for good
@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"prompt_tokens": -5, "completion_tokens": -7, "total_tokens": -12},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": 10**9, "completion_tokens": 10, "total_tokens": 10**9 + 10},
        {"prompt_tokens": 300, "completion_tokens": 10**9, "total_tokens": 10**9},
        {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
        {"prompt_tokens": CANARY, "completion_tokens": 1},
        {"prompt_tokens": float("nan"), "completion_tokens": float("inf")},
        {"prompt_tokens": 1.5, "completion_tokens": 1},
        {"prompt_tokens": 300},
    ],
    ids=[
        "absent",
        "negative",
        "zero",
        "absurd prompt",
        "absurd completion",
        "null",
        "words",
        "nan",
        "fraction",
        "half",
    ],
)
async def test_a_usage_that_cannot_be_true_is_estimated(
    answerer: OpenAIAnswerer, provider: ScriptedProvider, usage: dict[str, Any]
) -> None:
    provider.script(Fault(usage=usage))

    _, completion = await read(answerer)

    words = sum(len(message["content"].split()) for message in provider.calls[0].messages)
    assert completion.estimated
    assert completion.prompt_tokens == pytest.approx(words * 1.5, abs=1)
    assert completion.completion_tokens == 11  # seven words, half as many again, rounded up


async def test_an_answer_cut_by_max_tokens_says_so(answerer: OpenAIAnswerer) -> None:
    _, completion = await read(answerer, replace(PROMPT, max_tokens=4))

    assert (completion.text, completion.finish) == ("Paris is the", Finish.LENGTH)


async def test_a_model_that_ignores_max_tokens_is_cut_by_us(
    answerer: OpenAIAnswerer, provider: ScriptedProvider
) -> None:
    provider.script(Fault(text="endless" * 1000))

    pieces, completion = await read(answerer, replace(PROMPT, max_tokens=16))

    assert "".join(pieces) == completion.text
    assert len(completion.text) == 16 * 8
    assert (completion.finish, completion.estimated) == (Finish.LENGTH, True)


async def test_surrogates_and_control_characters_do_not_get_in(
    answerer: OpenAIAnswerer, provider: ScriptedProvider
) -> None:
    provider.script(Fault(text="red \x1b[31m\ud800 nul\x00 tab\t line\n c1\x9b 한국어"))

    pieces, completion = await read(answerer)

    # Terminal sequences come in pieces, and are taken out of all of them together.
    assert "".join(pieces) == completion.text == "red \x1b[31m\ufffd nul tab\t line\n c1\x9b 한국어"


async def test_control_characters_without_end_are_too_long_too(
    answerer: OpenAIAnswerer, provider: ScriptedProvider
) -> None:
    provider.script(Fault(text="A word. " + "\x00" * 10_000 + " Another."))

    _, completion = await read(answerer, replace(PROMPT, max_tokens=16))

    assert (completion.text, completion.finish) == ("A word. ", Finish.LENGTH)


async def test_the_digest_is_of_the_messages_that_were_sent(
    answerer: OpenAIAnswerer, provider: ScriptedProvider
) -> None:
    _, completion = await read(answerer)

    sent = [{"role": message["role"], "content": message["content"]} for message in provider.calls[0].messages]
    expected = hashlib.sha256(json.dumps(sent, separators=(",", ":")).encode()).hexdigest()
    assert completion.prompt_digest == expected


async def test_the_configured_key_is_presented(answerer: OpenAIAnswerer, provider: ScriptedProvider) -> None:
    await read(answerer)

    assert provider.calls[0].api_key == "sk-test"


async def test_a_limit_is_sent_by_the_name_that_every_endpoint_knows(
    answerer: OpenAIAnswerer, provider: ScriptedProvider
) -> None:
    await read(answerer, replace(PROMPT, max_tokens=77))

    body = provider.calls[0].body
    assert body["max_tokens"] == 77
    assert "max_completion_tokens" not in body


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.openai.com/v1", True),
        ("https://example.openai.azure.com/openai/v1", True),
        ("http://127.0.0.1:11434/v1", False),
        ("https://api.openai.com.example.org/v1", False),
    ],
)
def test_only_openai_and_azure_get_the_newer_name_of_the_limit(base_url: str, expected: bool) -> None:
    assert is_openai(base_url) is expected


async def test_a_reasoning_model_is_not_told_a_temperature(provider: ScriptedProvider) -> None:
    async with aclosing(answerer_at(provider.base_url, model="gpt-5-mini")) as answerer:
        await read(answerer)

    assert provider.calls[0].temperature is None


async def test_without_retrieval_history_and_question_are_sent_as_they_were_said(
    answerer: OpenAIAnswerer, provider: ScriptedProvider
) -> None:
    prompt = replace(PROMPT, question="And its river?", use_rag=False, passages=(), history=tuple(HISTORY))

    await read(answerer, prompt)

    said = [(message["role"], message["content"]) for message in provider.calls[0].messages[1:]]
    assert said == [("user", HISTORY[0].text), ("assistant", HISTORY[1].text), ("user", "And its river?")]


async def test_a_question_is_condensed_to_one_line_within_its_limit(
    answerer: OpenAIAnswerer, provider: ScriptedProvider
) -> None:
    provider.manners.answer = lambda ask: "Which river\ndoes Paris\r\n lie on?\n"

    completion = await answerer.condense("And its river?", HISTORY, None)

    assert completion.text == "Which river does Paris lie on?"
    assert provider.calls[0].max_tokens == 200
    assert completion.prompt_tokens == provider.calls[0].prompt_tokens


async def test_a_question_is_condensed_with_the_summary_of_what_was_said_before(
    answerer: OpenAIAnswerer, provider: ScriptedProvider
) -> None:
    await answerer.condense("강은요?", HISTORY, None, summary="사용자는 파리를 여행한다.")

    assert "summary: 사용자는 파리를 여행한다.\nuser: What is" in provider.calls[0].messages[-1]["content"]


async def test_a_summary_keeps_its_lines_and_its_limit(answerer: OpenAIAnswerer, provider: ScriptedProvider) -> None:
    provider.manners.answer = lambda ask: "They talk of Paris.\nThe river is the Seine.\n"

    completion = await answerer.summarize("They talk of France.", HISTORY, None)

    assert completion.text == "They talk of Paris.\nThe river is the Seine."
    call = provider.calls[0]
    assert (call.max_tokens, call.temperature) == (400, 0.0)
    assert "summary: They talk of France.\nuser: What is" in call.messages[-1]["content"]
    assert (completion.prompt_tokens, completion.completion_tokens) == (call.prompt_tokens, call.completion_tokens)


async def test_a_model_that_is_not_configured_is_refused_without_a_call(
    answerer: OpenAIAnswerer, provider: ScriptedProvider
) -> None:
    with pytest.raises(UnknownModel):
        await read(answerer, replace(PROMPT, model="somebody-elses"))

    assert provider.calls == []


async def test_calls_at_once_keep_their_own_parameters(answerer: OpenAIAnswerer, provider: ScriptedProvider) -> None:
    provider.manners.answer = lambda ask: f"{ask.body['temperature']} {ask.max_tokens}"
    prompts = [replace(PROMPT, temperature=number / 100, max_tokens=100 + number) for number in range(1, 101)]

    replies = await asyncio.gather(*(read(answerer, prompt) for prompt in prompts))

    expected = [f"{prompt.temperature} {prompt.max_tokens}" for prompt in prompts]
    assert [completion.text for _, completion in replies] == expected
    assert len(provider.calls) == 100


FAULTS = {
    "wrong key": (Fault(status=401, code="invalid_api_key"), ProviderAuth),
    "forbidden": (Fault(status=403), ProviderAuth),
    "out of credit": (Fault(status=429, code="insufficient_quota"), ProviderAuth),
    "rate limit": (Fault(status=429, code="rate_limit_exceeded"), ProviderRateLimited),
    "content filter": (Fault(status=400, code="content_filter"), ProviderRefused),
    "bad request": (Fault(status=400), ProviderRefused),
    "unknown model": (Fault(status=404, code="model_not_found"), ProviderRefused),
    "unprocessable": (Fault(status=422), ProviderRefused),
    "redirect": (Fault(status=307), ProviderRefused),
    "context overflow": (Fault(status=400, code="context_length_exceeded"), ContextTooLong),
    "too large": (Fault(status=413), ContextTooLong),
    "time-out of theirs": (Fault(status=408), ProviderUnavailable),
    "internal error": (Fault(status=500), ProviderUnavailable),
    "overloaded": (Fault(status=503), ProviderUnavailable),
    "cut before the head": (Fault.cut_after(0), ProviderUnavailable),
    "cut in the middle": (Fault.cut_after(3), ProviderUnavailable),
    "ended without an end": (Fault.end_after(3), ProviderUnavailable),
    "server error in the stream": (Fault.error_after(2, "server_error"), ProviderUnavailable),
    "rate limit in the stream": (Fault.error_after(2, "rate_limit_exceeded"), ProviderRateLimited),
    "overflow in the stream": (Fault.error_after(0, "context_length_exceeded"), ContextTooLong),
    "filter at the end": (Fault(finish="content_filter"), ProviderRefused),
    "fault at the end": (Fault(finish="error"), ProviderUnavailable),
    "a web page": (Fault.malformed(), ProviderMalformed),
    "an empty body": (Fault.malformed(""), ProviderMalformed),
    "no JSON": (Fault.malformed(f"data: {{{CANARY}\n\n"), ProviderMalformed),
    "JSON of another shape": (Fault.malformed(f'data: ["{CANARY}"]\n\n'), ProviderMalformed),
    "choices of another shape": (Fault.malformed(f'data: {{"choices": ["{CANARY}"]}}\n\n'), ProviderMalformed),
    "no text": (Fault(text=""), ProviderMalformed),
    "blank text": (Fault(text=" \n "), ProviderMalformed),
}


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")  # as the adapter does for good
@pytest.mark.parametrize(("fault", "expected"), FAULTS.values(), ids=FAULTS)
async def test_a_fault_gets_its_name_after_one_call_and_nobodys_words(
    answerer: OpenAIAnswerer, provider: ScriptedProvider, fault: Fault, expected: type[MoorageError]
) -> None:
    provider.script(fault)

    with pytest.raises(MoorageError) as caught:
        await read(answerer)

    error = caught.value
    assert type(error) is expected
    assert len(provider.calls) == 1
    assert not any(word in f"{error} {error.detail}" for word in (CANARY, "Paris", "capital"))
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(status=429, retry_after=2), timedelta(seconds=2)),
        (Fault(status=429, retry_after="0.5"), timedelta(seconds=0.5)),
        (Fault(status=429, retry_after=9, retry_after_ms=1500), timedelta(seconds=1.5)),
        (Fault(status=503, retry_after=7), timedelta(seconds=7)),
        (Fault(status=429, retry_after=10**12), timedelta(days=1)),
        (Fault(status=429, retry_after=-3), None),
        (Fault(status=429, retry_after_ms=float("nan")), None),
        (Fault(status=429, retry_after="soon"), None),
        (Fault(status=429), None),
    ],
)
async def test_the_provider_says_how_long_to_wait(
    answerer: OpenAIAnswerer, provider: ScriptedProvider, fault: Fault, expected: timedelta | None
) -> None:
    provider.script(fault)

    with pytest.raises(MoorageError) as caught:
        await read(answerer)

    assert caught.value.retry_after == expected


async def test_a_date_to_wait_for_is_understood(answerer: OpenAIAnswerer, provider: ScriptedProvider) -> None:
    provider.script(Fault(status=429, retry_after=format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)))

    with pytest.raises(ProviderRateLimited) as caught:
        await read(answerer)

    assert caught.value.retry_after is not None
    assert timedelta(minutes=59) < caught.value.retry_after <= timedelta(hours=1)


@pytest.mark.parametrize("tokens", [0, 2], ids=["no first token", "a gap"])
async def test_silence_has_a_limit_and_ends_the_call(provider: ScriptedProvider, tokens: int) -> None:
    provider.script(Fault.hang(after=tokens))

    async with aclosing(answerer_at(provider.base_url, patience=Patience(first=0.3, gap=0.3))) as answerer:
        with pytest.raises(ProviderUnavailable):
            await read(answerer)
        calls = await provider.idle()

    assert [call.status for call in calls] == [LEFT]


async def test_who_can_do_without_the_reply_waits_less_for_it(provider: ScriptedProvider) -> None:
    provider.script(Fault.hang())
    patience = Patience(first=30, gap=30, brief=0.3)

    async with aclosing(answerer_at(provider.base_url, patience=patience)) as answerer:
        async with asyncio.timeout(5):
            with pytest.raises(ProviderUnavailable):
                await answerer.condense("And then?", [Line(Speaker.USER, "What is a berth?")], None)


async def test_an_endpoint_that_fails_at_tls_is_unavailable(provider: ScriptedProvider) -> None:
    async with aclosing(answerer_at(provider.base_url.replace("http://", "https://"))) as answerer:
        with pytest.raises(ProviderUnavailable):
            await read(answerer)


async def test_nobody_listening_is_unavailable() -> None:
    async with ScriptedProvider() as gone:
        base_url = gone.base_url

    async with aclosing(answerer_at(base_url)) as answerer:
        with pytest.raises(ProviderUnavailable):
            await read(answerer)


async def test_a_reader_that_is_cancelled_ends_the_providers_call(
    answerer: OpenAIAnswerer, provider: ScriptedProvider
) -> None:
    provider.script(Fault.hang(after=2))
    begun = asyncio.Event()

    async def reader() -> None:
        async for _ in answerer.answer(PROMPT):
            begun.set()

    reading = asyncio.create_task(reader())
    await begun.wait()
    reading.cancel()
    await asyncio.wait([reading])

    calls = await provider.idle()
    assert reading.cancelled()
    assert [(call.status, call.delivered) for call in calls] == [(LEFT, False)]


async def test_a_reader_that_closes_early_ends_the_providers_call(
    answerer: OpenAIAnswerer, provider: ScriptedProvider
) -> None:
    provider.script(Fault.hang(after=2))

    async with aclosing(answerer.answer(PROMPT)) as pieces:
        await anext(pieces)

    calls = await provider.idle()
    assert [call.status for call in calls] == [LEFT]


async def test_a_call_after_a_fault_is_an_ordinary_one(answerer: OpenAIAnswerer, provider: ScriptedProvider) -> None:
    def rude(ask: Ask) -> bool:
        return "rude" in str(ask.messages)

    provider.script(Fault(status=500, fits=rude))

    with pytest.raises(ProviderUnavailable):
        await read(answerer, replace(PROMPT, question="Be rude."))
    _, completion = await read(answerer)

    assert completion.finish is Finish.STOP
