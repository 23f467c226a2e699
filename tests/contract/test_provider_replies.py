"""Replies of the model provider that are not what they should be, byte by byte: which are an answer, which are none."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio

from domain.chat import Finish
from domain.errors import MoorageError, ProviderMalformed, ProviderUnavailable
from infra.openai.answerer import OpenAIAnswerer, Patience
from infra.openai.client import connections
from tests.contract.test_openai_answerer import read
from tests.contract.tokenizer import WordTokenizer
from tests.provider.script import Fault
from tests.provider.server import ScriptedProvider

# as the adapter does for good
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")

LARGEST = 200_000  # bytes of a reply, here


def event(**fields: Any) -> str:
    envelope = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "model-1"}
    return f"data: {json.dumps({**envelope, **fields})}\n\n"


def delta(finish: Any = None, **fields: Any) -> str:
    return event(choices=[{"index": 0, "delta": fields, "finish_reason": finish}])


WORD, END, DONE = delta(content="Paris"), delta("stop"), "data: [DONE]\n\n"
TOOL = [{"index": 0, "id": "call-1", "type": "function", "function": {"name": "delete", "arguments": "{}"}}]


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider() as running:
        yield running


@pytest_asyncio.fixture
async def answerer(provider: ScriptedProvider) -> AsyncIterator[OpenAIAnswerer]:
    async with aclosing(connections(LARGEST)) as shared:
        yield OpenAIAnswerer(
            base_url=provider.base_url,
            api_key="sk-test",
            model="gpt-4o-mini",
            tokenizer=WordTokenizer(),
            patience=Patience(first=5.0, gap=0.3),
            shared=shared,
        )


NO_ANSWER = {
    "no choices": (event() + DONE, ProviderUnavailable),
    "empty choices": (event(choices=[]) + DONE, ProviderUnavailable),
    "choices that are null": (event(choices=None) + DONE, ProviderUnavailable),
    "null content": (delta(content=None) + END + DONE, ProviderMalformed),
    "null delta": (event(choices=[{"index": 0, "delta": None, "finish_reason": "stop"}]) + DONE, ProviderMalformed),
    "content that is a number": (delta(content=5) + END + DONE, ProviderMalformed),
    "a tool call in place of words": (delta(tool_calls=TOOL) + delta("tool_calls") + DONE, ProviderMalformed),
    "a tool call of another type": (WORD + delta(tool_calls="delete") + END + DONE, ProviderMalformed),
    "a whole completion in place of a stream": (
        json.dumps({"choices": [{"index": 0, "message": {"content": "Paris"}, "finish_reason": "stop"}]}),
        ProviderMalformed,
    ),
    "bytes that are no UTF-8": (WORD.replace("Paris", "Par\udcff") + END + DONE, ProviderMalformed),
    "JSON too deep to read": (f"data: {'[' * 100_000}\n\n", ProviderMalformed),
    "a body without an end": ("x" * (LARGEST + 1), ProviderMalformed),
    "an event without an end": (f'data: "{"x" * LARGEST}"\n\n', ProviderMalformed),
    "words without an end": (WORD + DONE, ProviderUnavailable),
}


@pytest.mark.parametrize(("body", "expected"), NO_ANSWER.values(), ids=NO_ANSWER)
async def test_a_reply_that_cannot_be_meant_is_no_answer(
    answerer: OpenAIAnswerer, provider: ScriptedProvider, body: str, expected: type[MoorageError]
) -> None:
    provider.script(Fault(body=body))

    with pytest.raises(MoorageError) as caught:
        await read(answerer)

    assert type(caught.value) is expected
    assert len(provider.calls) == 1


ANSWERS = {
    "no [DONE]": (WORD + END, "Paris"),
    "doubled chunks": (WORD + WORD + END + END + DONE, "ParisParis"),
    "NaN where nobody looks": (WORD.replace('"created": 1', '"created": NaN') + END + DONE, "Paris"),
    "a lone surrogate": (delta(content="Par\ud800is") + END + DONE, "Par\ufffdis"),
    "a tool call beside the words": (WORD + delta(tool_calls=TOOL) + delta("tool_calls") + DONE, "Paris"),
    "a model whose name is a number": (WORD.replace('"model-1"', "7") + END + DONE, "Paris"),
    "a usage of another type": (WORD + END + event(choices=[], usage=[1]) + DONE, "Paris"),
    "rubbish after the end": (WORD + END + "data: {rubbish\n\n", "Paris"),
    "a refusal after the end": (WORD + END + 'data: {"error": {"code": "rate_limit_exceeded"}}\n\n', "Paris"),
    "an error after the end": (WORD + END + 'data: {"error": {"code": "server_error"}}\n\n', "Paris"),
}


@pytest.mark.parametrize(("body", "text"), ANSWERS.values(), ids=ANSWERS)
async def test_a_reply_whose_words_are_all_there_is_an_answer_by_estimate(
    answerer: OpenAIAnswerer, provider: ScriptedProvider, body: str, text: str
) -> None:
    provider.script(Fault(body=body))

    pieces, completion = await read(answerer)

    assert "".join(pieces) == completion.text == text
    assert (completion.finish, completion.estimated) == (Finish.STOP, True)
