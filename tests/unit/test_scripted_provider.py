"""The scripted provider does as it is told, or suites that rely on it prove nothing."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio

from tests.provider import words
from tests.provider.calls import LEFT
from tests.provider.script import CANARY, Fault
from tests.provider.server import ScriptedProvider

HELLO: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello there, provider"}]}
STREAM = HELLO | {"stream": True, "stream_options": {"include_usage": True}}


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider() as running:
        yield running


@pytest_asyncio.fixture
async def client(provider: ScriptedProvider) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=provider.base_url, timeout=10) as ready:
        yield ready


async def events(client: httpx.AsyncClient, body: dict[str, Any] = STREAM) -> list[str]:
    return parsed((await client.post("/chat/completions", json=body)).text)


def parsed(text: str) -> list[str]:
    return [line.removeprefix("data: ") for line in text.split("\n\n") if line]


def said(found: list[str]) -> str:
    deltas = [json.loads(event)["choices"] for event in found if event != "[DONE]"]
    return "".join(choices[0]["delta"].get("content", "") for choices in deltas if choices)


async def test_a_completion_is_whole_or_streamed_with_the_same_words(client: httpx.AsyncClient) -> None:
    whole = (await client.post("/chat/completions", json=HELLO)).json()
    streamed = await events(client)

    assert said(streamed) == whole["choices"][0]["message"]["content"] == "You said: Hello there, provider"
    assert streamed[-1] == "[DONE]"


async def test_the_log_agrees_with_the_usage(client: httpx.AsyncClient, provider: ScriptedProvider) -> None:
    streamed = await events(client)

    usage = json.loads(streamed[-2])["usage"]
    (call,) = provider.calls
    assert usage == {"prompt_tokens": 8, "completion_tokens": 7, "total_tokens": 15}
    assert (call.prompt_tokens, call.completion_tokens, call.delivered) == (8, 7, True)


async def test_usage_of_a_stream_comes_only_when_asked_for(client: httpx.AsyncClient) -> None:
    streamed = await events(client, HELLO | {"stream": True})

    assert "usage" not in "".join(streamed)


async def test_max_tokens_cuts_an_answer(client: httpx.AsyncClient) -> None:
    reply = (await client.post("/chat/completions", json=HELLO | {"max_completion_tokens": 3})).json()

    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] <= 3


async def test_the_answer_can_be_any_function_of_the_request(
    client: httpx.AsyncClient, provider: ScriptedProvider
) -> None:
    provider.manners.answer = lambda ask: f"{ask.model} heard {len(ask.messages)}"

    assert said(await events(client)) == "m heard 1"


async def test_faults_come_in_order_and_then_no_more(client: httpx.AsyncClient, provider: ScriptedProvider) -> None:
    provider.script(Fault.none(), Fault(status=500), Fault(status=429, retry_after=2, times=2))

    replies = [await client.post("/chat/completions", json=HELLO) for _ in range(5)]

    assert [reply.status_code for reply in replies] == [200, 500, 429, 429, 200]
    assert replies[2].headers["retry-after"] == "2"
    assert CANARY in replies[1].text


async def test_a_fault_waits_for_the_request_it_fits(client: httpx.AsyncClient, provider: ScriptedProvider) -> None:
    provider.script(
        Fault(status=500, kind="embedding"), Fault(status=503, fits=lambda ask: ask.model == "other", kind="chat")
    )

    chat = await client.post("/chat/completions", json=HELLO)
    other = await client.post("/chat/completions", json=HELLO | {"model": "other"})
    embedding = await client.post("/embeddings", json={"model": "e", "input": "text"})

    assert [chat.status_code, other.status_code, embedding.status_code] == [200, 503, 500]


async def test_a_cut_stream_breaks_after_its_tokens(client: httpx.AsyncClient, provider: ScriptedProvider) -> None:
    provider.script(Fault.cut_after(2))
    received = bytearray()

    async def read() -> None:
        async with client.stream("POST", "/chat/completions", json=STREAM) as reply:
            async for data in reply.aiter_bytes():
                received.extend(data)

    with pytest.raises(httpx.TransportError):
        await read()

    (call,) = await provider.idle()
    assert said(parsed(received.decode())) == "You said:"
    assert (call.completion_tokens, call.delivered) == (3, False)


async def test_a_client_that_leaves_a_silent_provider_is_noted(
    client: httpx.AsyncClient, provider: ScriptedProvider
) -> None:
    provider.script(Fault.hang())

    asking = asyncio.create_task(client.post("/chat/completions", json=STREAM))
    await provider.until(lambda calls: len(calls) == 1)
    asking.cancel()

    (call,) = await provider.idle()
    assert call.status == LEFT


async def test_tokens_come_at_the_pace_that_was_set(client: httpx.AsyncClient, provider: ScriptedProvider) -> None:
    provider.manners.latency, provider.manners.pace = 0.05, 0.02
    began = asyncio.get_running_loop().time()

    streamed = await events(client)

    assert said(streamed) == "You said: Hello there, provider"
    assert asyncio.get_running_loop().time() - began >= 0.05 + 5 * 0.02


async def test_only_the_configured_key_is_let_in(client: httpx.AsyncClient, provider: ScriptedProvider) -> None:
    provider.manners.api_key = "right"

    replies = [await client.get("/models", headers={"authorization": f"Bearer {key}"}) for key in ("wrong", "right")]

    assert [reply.status_code for reply in replies] == [401, 200]
    assert [call.api_key for call in provider.calls] == ["wrong", "right"]


async def test_vectors_are_packed_when_asked_for(client: httpx.AsyncClient) -> None:
    body = {"model": "e", "input": ["one text", "another"]}

    plain = (await client.post("/embeddings", json=body)).json()["data"]
    packed = (await client.post("/embeddings", json=body | {"encoding_format": "base64"})).json()["data"]

    unpacked = [np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in packed]
    np.testing.assert_allclose(unpacked, [row["embedding"] for row in plain], atol=1e-6)


def test_shared_words_bring_vectors_closer() -> None:
    question, near, far = (
        words.embed(text, 384)
        for text in ("Where do ships moor?", "Ships moor in the harbour.", "Bread is baked from flour.")
    )

    assert question @ near > question @ far + 0.3
    assert words.embed("Where do ships moor?", 384) @ question == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/chat/completions", b"{", 400),
        ("POST", "/chat/completions", b"[]", 400),
        ("GET", "/chat/completions", b"", 404),
        ("POST", "/nowhere", b"{}", 404),
    ],
)
async def test_what_it_does_not_understand_is_refused(
    client: httpx.AsyncClient, provider: ScriptedProvider, method: str, path: str, body: bytes, status: int
) -> None:
    reply = await client.request(method, path, content=body)

    assert reply.status_code == status
    assert provider.calls == []


async def test_a_reset_forgets_everything(client: httpx.AsyncClient, provider: ScriptedProvider) -> None:
    provider.script(Fault(status=500))
    provider.manners.answer = lambda ask: "changed"
    await client.get("/models")

    provider.reset()

    assert provider.calls == []
    assert said(await events(client)) == "You said: Hello there, provider"


async def test_another_process_can_script_it_and_read_its_log() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.provider", "--seconds", "60", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        base_url = json.loads(await process.stdout.readline())["base_url"]
        async with httpx.AsyncClient(base_url=base_url.removesuffix("/v1"), timeout=10) as client:
            order = {"answer": "As told.", "faults": [{"status": 429, "retry_after": 1}]}
            ordered = await client.post("/_script", json=order)
            wrong = await client.post("/_script", json={"faults": [{"no_such_field": 1}]})
            replies = [await client.post("/v1/chat/completions", json=HELLO) for _ in range(2)]
            calls = (await client.get("/_calls")).json()
    finally:
        process.terminate()
        await process.wait()

    assert (ordered.status_code, wrong.status_code) == (200, 400)
    assert [reply.status_code for reply in replies] == [429, 200]
    assert replies[1].json()["choices"][0]["message"]["content"] == "As told."
    assert [(call["kind"], call["status"]) for call in calls] == [("chat", 429), ("chat", 200)]
    assert process.returncode == 0
