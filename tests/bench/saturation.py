"""(k) Twice as many questions as can be answered: what is still answered, what is sent away, and how soon it ends."""

import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx

from tests.bench.questions import question
from tests.bench.stack import Stack
from tests.bench.table import Figure, p

TIMES = 2  # the peak
SECONDS = 30.0
SETTLES = 10.0  # seconds at the beginning that are not counted: until then queues only fill
PATIENCE = 60  # seconds
CALM = 2.0  # times what one question takes alone
ALONE = 5  # questions


@dataclass
class Flood:
    """What became of the questions: status -> how many, and when answers came (seconds since it began)."""

    began: float
    statuses: Counter[int] = field(default_factory=Counter)
    answered: list[float] = field(default_factory=list)
    refused_after: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)

    async def ask(self, stack: Stack, at: float) -> None:
        await asyncio.sleep(max(0.0, self.began + at - time.perf_counter()))
        asked = time.perf_counter()
        headers = {"Prefer": f"wait={PATIENCE}"}
        try:
            response = await stack.http.post("/api/v1/chat", json={"message": question()}, headers=headers)
        except httpx.HTTPError:
            self.statuses[0] += 1
            return
        now = time.perf_counter()
        self.statuses[response.status_code] += 1
        if response.status_code == 200:
            self.answered.append(now - self.began)
            self.took.append(now - asked)
        elif response.status_code in (429, 503):
            assert int(response.headers["Retry-After"]) > 0
            self.refused_after.append(now - asked)


async def measure(stack: Stack, peak: float) -> list[Figure]:
    """`peak`: answers a second with as many in flight as make it highest."""
    alone = p([await _alone(stack) for _ in range(ALONE)], 0.5)
    flood = Flood(time.perf_counter())
    rate = TIMES * peak
    asking = [asyncio.create_task(flood.ask(stack, number / rate)) for number in range(int(rate * SECONDS))]
    await asyncio.sleep(SECONDS)
    ended = time.perf_counter()
    while await _alone(stack) > CALM * alone:
        await asyncio.sleep(0.2)
    calm = time.perf_counter() - ended
    await asyncio.gather(*asking)
    good = [at for at in flood.answered if SETTLES < at <= SECONDS]
    sent_away = flood.statuses[429] + flood.statuses[503]
    print(f"(k) of {len(asking)} questions at {rate:.0f}/s: {dict(flood.statuses)}", file=sys.stderr)
    return [
        Figure(
            f"(k) goodput at {TIMES} × the peak ÷ the peak",
            "ratio",
            [len(good) / (SECONDS - SETTLES) / peak],
            "≥ 0.8",
            2,
        ),
        Figure("— sent away with 429 or 503", "%", [100 * sent_away / len(asking)], digits=0),
        Figure("— told so after", "ms, p95", [1000 * p(flood.refused_after or [0.0], 0.95)], digits=0),
        Figure("— who was let in had the answer after", "s, p95", [p(flood.took, 0.95)]),
        Figure("— as quick as before", "s after the flood", [calm], "≤ 30"),
    ]


async def _alone(stack: Stack) -> float:
    """Seconds; for ever if it is sent away."""
    began = time.perf_counter()
    response = await stack.http.post("/api/v1/chat", json={"message": question()}, headers={"Prefer": "wait=60"})
    return time.perf_counter() - began if response.status_code == 200 else float("inf")
