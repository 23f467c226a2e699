"""(b) Chats a second, with so many in flight."""

import asyncio
import time

from tests.bench.questions import question
from tests.bench.stack import Stack
from tests.bench.table import Figure, p

IN_FLIGHT = {16: "≥ 8", 32: "≥ 14"}  # and the rate that is the target
EACH = 10  # chats of every asker in a repeat
PATIENCE = 1.6  # times what a fair queue makes of the rate


async def measure(stack: Stack, repeats: int) -> list[Figure]:
    figures: list[Figure] = []
    for in_flight, target in IN_FLIGHT.items():
        figures += await rate(stack, repeats, in_flight, target)
    return figures


async def rate(stack: Stack, repeats: int, in_flight: int, target: str) -> list[Figure]:
    """Every answer comes, or it ends."""
    rates, medians, slow = [], [], []
    for _ in range(repeats):
        began = time.perf_counter()
        took = await asyncio.gather(*(_asker(stack) for _ in range(in_flight)))
        rates.append(EACH * in_flight / (time.perf_counter() - began))
        each = [1000 * seconds for asker in took for seconds in asker]
        medians.append(p(each, 0.5))
        slow.append(p(each, 0.95) / (1000 * in_flight / rates[-1]))
    return [
        Figure(f"(b) chats at {in_flight} in flight", "1/s", rates, target),
        Figure("— each of them", "ms, p50", medians, digits=0),
        Figure("— the slow ones ÷ (in flight ÷ rate)", "ratio of p95", slow, f"≤ {PATIENCE}", digits=2),
    ]


async def _asker(stack: Stack) -> list[float]:
    took = []
    for _ in range(EACH):
        began = time.perf_counter()
        await stack.ask(question())
        took.append(time.perf_counter() - began)
    return took
