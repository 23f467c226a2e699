"""(h) The first word of a streamed answer, beside the provider's own; (i) what streams cost that only wait."""

import asyncio
import json
import time
from contextlib import AsyncExitStack

import httpx

from tests.bench.questions import question
from tests.bench.stack import Stack, scripted
from tests.bench.table import Figure, p

RUNS = 20  # of each kind a repeat
WARM_UP = 5
PROVIDER = {"latency": 0.3, "pace": 0.02}  # seconds before the first word, and before each
SILENT = {"latency": 28.0}  # longer than the streams are looked at, and less than the platform waits
STREAMS = 200


async def measure_first_word(stack: Stack, base_url: str, repeats: int) -> list[Figure]:
    ours, its_own = [], []
    async with (
        httpx.AsyncClient(base_url=base_url, timeout=30, trust_env=False) as model,
        scripted(base_url, **PROVIDER),
    ):
        for _ in range(WARM_UP):
            await _through_us(stack)
        for _ in range(repeats):  # one of each in turn, so that noise meets both
            pairs = [(await _through_us(stack), await _directly(model)) for _ in range(RUNS)]
            ours.append(p([one for one, _ in pairs], 0.5))
            its_own.append(p([one for _, one in pairs], 0.5))
    later = [one - other for one, other in zip(ours, its_own, strict=True)]
    return [
        Figure("(h) first word of a stream, beyond the provider's own", "ms, p50", later, "≤ 80", digits=0),
        Figure("— with us", "ms, p50", ours, digits=0),
        Figure("— the provider's own", "ms, p50", its_own, digits=0),
    ]


async def measure_idle(stack: Stack, base_url: str) -> list[Figure]:
    async with (
        scripted(base_url, **SILENT),
        AsyncExitStack() as open_streams,
    ):
        run = await stack.start(question())
        before = stack.memory("api")
        for _ in range(STREAMS):
            stream = stack.http.stream("GET", f"/api/v1/runs/{run}/events")
            lines = (await open_streams.enter_async_context(stream)).aiter_lines()
            await anext(lines)
        await asyncio.sleep(2)
        grown = stack.memory("api") - before
    return [Figure(f"(i) memory of the API for {STREAMS} streams that wait", "MB", [grown], "≤ 50")]


async def _through_us(stack: Stack) -> float:
    """Milliseconds from the question to the first token that the client has read."""
    began = time.perf_counter()
    headers = {"Accept": "text/event-stream"}
    async with stack.http.stream("POST", "/api/v1/chat", json={"message": question()}, headers=headers) as response:
        took = 0.0
        async for line in response.aiter_lines():
            if line == "event: token" and not took:
                took = 1000 * (time.perf_counter() - began)
    assert took, "a stream without a word"
    return took


async def _directly(model: httpx.AsyncClient) -> float:
    body = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": question()}]}
    began = time.perf_counter()
    async with model.stream("POST", "chat/completions", json=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                return 1000 * (time.perf_counter() - began)
    raise AssertionError("a stream without a word")
