"""(f) What metering costs a chat turn: two platforms in this process, of which one meters, take turns."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from infra.settings import Settings
from infra.stack.stores import stores
from tests.bench.questions import question
from tests.bench.stack import LIMIT, SAMPLES, scripted
from tests.bench.table import Figure, p
from tests.bench.unmetered import UNMETERED_WORKFLOWS, unmetered
from tests.platform import User, platform

LATENCIES = (0.0, 0.3)  # seconds of the provider: where metering weighs most, and what people have
RUNS = 20  # of each kind a repeat, one after the other
BREATH = 0.1  # seconds between two questions: the child of the last one has run; what it costs is in the rates
WARM_UP = 10
IN_FLIGHT = 16
CHATS = 80  # of each kind a repeat
UNLIKE: dict[str, Any] = {"adapt": unmetered, "workflows": UNMETERED_WORKFLOWS}


async def measure(base_url: str, home: Path, repeats: int) -> list[Figure]:
    model: dict[str, Any] = {"openai_base_url": base_url, "openai_api_key": "bench", "token_limit": LIMIT}
    figures = []
    async with AsyncExitStack() as stack:
        shared = await stack.enter_async_context(stores(home / "shared", Settings().cache))
        metered = await stack.enter_async_context(_user(platform(home / "metered", shared, **model)))
        bare = await stack.enter_async_context(_user(platform(home / "unmetered", shared, **UNLIKE, **model)))
        for latency in LATENCIES:
            async with scripted(base_url, latency=latency):
                figures += await _compared(metered, bare, repeats, f"provider at {1000 * latency:.0f} ms")
        assert (await metered.http.get("/api/v1/usage")).json()["tokens_used"] > 0
        assert not (await bare.http.get("/api/v1/usage")).json()["by_model"]
    return figures


async def _compared(metered: User, bare: User, repeats: int, where: str) -> list[Figure]:
    for user in (metered, bare):
        await _asked(user, WARM_UP)
    medians: dict[str, list[float]] = {metered.account: [], bare.account: []}
    rates: dict[str, list[float]] = {metered.account: [], bare.account: []}
    for repeat in range(repeats):
        for user in (metered, bare) if repeat % 2 else (bare, metered):
            medians[user.account].append(p(await _asked(user, RUNS), 0.5))
            rates[user.account].append(await _rate(user))
    slower = [a / b for a, b in zip(medians[metered.account], medians[bare.account], strict=True)]
    return [
        Figure(f"(f) with ÷ without metering, {where}", "ratio of p50", slower, "≤ 1.10", 2),
        Figure("— with metering", "ms, p50", medians[metered.account], digits=0),
        Figure("— without", "ms, p50", medians[bare.account], digits=0),
        Figure(f"— with metering, {IN_FLIGHT} in flight", "1/s", rates[metered.account]),
        Figure(f"— without, {IN_FLIGHT} in flight", "1/s", rates[bare.account]),
    ]


@asynccontextmanager
async def _user(starting: Any) -> AsyncIterator[User]:
    async with starting as running:
        user = await running.user()
        texts = sorted(path for path in SAMPLES.iterdir() if path.suffix == ".md" and path.name[0].islower())
        for path in texts:
            await user.upload(path.name, path.read_bytes())
        yield user


async def _asked(user: User, times: int) -> list[float]:
    """Milliseconds of each, from the question to the answer."""
    took = []
    for _ in range(times):
        took.append(await _ask(user))
        await asyncio.sleep(BREATH)
    await _settled(user)
    return took


async def _settled(user: User) -> None:
    """The children have run, and cost the other kind nothing."""
    async with asyncio.timeout(60):
        while (await user.http.get("/api/v1/usage")).json()["tokens_reserved"]:
            await asyncio.sleep(0.1)


async def _ask(user: User) -> float:
    began = time.perf_counter()
    answer = await user.ask(question())
    assert answer["finish_reason"] in {"stop", "not_found"}, answer
    return 1000 * (time.perf_counter() - began)


async def _rate(user: User) -> float:
    """Answers a second."""

    async def asker() -> None:
        for _ in range(CHATS // IN_FLIGHT):
            await _ask(user)

    began = time.perf_counter()
    await asyncio.gather(*(asker() for _ in range(IN_FLIGHT)))
    took = time.perf_counter() - began
    await _settled(user)
    return CHATS / took
