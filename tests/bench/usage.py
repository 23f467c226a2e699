"""(g) What a month came to and its lines, read over HTTP with 100,000 lines in the account's ledger."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from domain.names import new_id
from domain.usage import Delivery, Purpose, month_of
from infra.settings import Settings
from infra.sql.database import Database
from infra.sql.tables import provider_calls
from tests.bench.stack import Stack
from tests.bench.table import Figure, p

LINES = 100_000
AT_ONCE = 5_000  # in a transaction, which has 2.5 s
READS = 100  # a repeat
PATHS = {"/api/v1/usage": "month", "/api/v1/usage/events?limit=100": "100 of its lines"}
MODELS = [f"model-{number}" for number in range(4)]


async def measure(stack: Stack, home: Path, repeats: int) -> list[Figure]:
    await _fill(stack, home)
    figures = []
    for path, name in PATHS.items():
        await _reads(stack, path, 10)
        runs = [await _reads(stack, path, READS) for _ in range(repeats)]
        figures.append(Figure(f"(g) {name}, of {LINES:,}", "ms, p95", [p(run, 0.95) for run in runs], "≤ 50"))
    return figures


async def _fill(stack: Stack, home: Path) -> None:
    me = (await stack.http.get("/api/v1/auth/me")).json()
    database = await Database.open(Settings(_env_file=None, home=home).database)
    for first in range(0, LINES, AT_ONCE):
        lines = [_line(me, number) for number in range(first, first + AT_ONCE)]
        async with database.write() as connection:
            await connection.execute(insert(provider_calls), lines)
    await database.close()


def _line(me: dict[str, Any], number: int) -> dict[str, Any]:
    now = datetime.now(UTC)
    month = month_of(now)
    at = max(now - timedelta(seconds=number), datetime.fromisoformat(f"{month}-01T00:00:00+00:00"))
    return {
        "op_id": new_id(),
        "tenant_id": me["tenant_id"],
        "account_id": me["user_id"],
        "workflow_id": None,
        "purpose": list(Purpose)[number % len(Purpose)],
        "model": MODELS[number % len(MODELS)],
        "prompt_tokens": 500 + number % 97,
        "completion_tokens": 50 + number % 31,
        "delivery": Delivery.DELIVERED,
        "billable": True,
        "month": month,
        "at": at,
        "settled": True,
        "cost": 1000 + number % 13,
    }


async def _reads(stack: Stack, path: str, reads: int) -> list[float]:
    took = []
    for _ in range(reads):
        began = time.perf_counter()
        response = await stack.http.get(path)
        took.append(1000 * (time.perf_counter() - began))
        assert response.status_code == 200, response.text
    return took
