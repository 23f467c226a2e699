"""(b) Chats a second with 16 in flight."""

import asyncio
import time

from tests.bench.questions import question
from tests.bench.stack import Stack
from tests.bench.table import Figure, p

IN_FLIGHT = 16
CHATS = 160  # a repeat


async def measure(stack: Stack, repeats: int) -> list[Figure]:
    rates, latencies = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        took = await asyncio.gather(*(_asker(stack, CHATS // IN_FLIGHT) for _ in range(IN_FLIGHT)))
        rates.append(CHATS / (time.perf_counter() - began))
        latencies.append(p([1000 * seconds for asker in took for seconds in asker], 0.5))
    return [
        Figure(f"(b) chats at {IN_FLIGHT} in flight", "1/s", rates, "≥ 8"),
        Figure("— each of them", "ms, p50", latencies, digits=0),
    ]


async def _asker(stack: Stack, chats: int) -> list[float]:
    took = []
    for _ in range(chats):
        began = time.perf_counter()
        await stack.ask(question())
        took.append(time.perf_counter() - began)
    return took
