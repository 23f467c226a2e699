"""(c) Search over HTTP, with the embedding of the query."""

import time

from tests.bench.questions import question
from tests.bench.stack import Stack
from tests.bench.table import Figure, p

SEARCHES = 100  # a repeat
WARM_UP = 20


async def measure(stack: Stack, repeats: int) -> list[Figure]:
    await _searches(stack, WARM_UP)
    runs = [await _searches(stack, SEARCHES) for _ in range(repeats)]
    return [
        Figure("(c) search over HTTP, query embedded", "ms, p50", [p(run, 0.5) for run in runs], "≤ 25"),
        Figure("— the same", "ms, p95", [p(run, 0.95) for run in runs]),
    ]


async def _searches(stack: Stack, searches: int) -> list[float]:
    took = []
    for _ in range(searches):
        began = time.perf_counter()
        response = await stack.http.post("/api/v1/search", json={"query": question()})
        took.append(1000 * (time.perf_counter() - began))
        assert response.json()["results"], response.text
    return took
