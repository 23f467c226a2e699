"""An account with a budget of its own, that asks through any of a stack's APIs and watches its month."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from domain.names import new_id
from tests.faults.stack import Stack
from tests.platform import PASSWORD

PATIENCE = 60.0  # seconds
LOOK = 0.1
# No expiry: with hundreds of requests at once httpcore closes a connection for its age that it has just given to a
# request, which then ends as a ReadError (encode/httpcore#1110).
CROWD = httpx.Limits(max_connections=None, keepalive_expiry=None)


@dataclass(frozen=True)
class Account:
    http: httpx.AsyncClient
    api_urls: tuple[str, ...]
    tenant: str
    id: str
    busy: list[httpx.Response] = field(default_factory=list)  # 503 in place of an admission or a refusal

    async def ask(
        self, body: dict[str, Any], *, through: int = 0, wait: int = 0, key: str | None = None
    ) -> httpx.Response:
        """`through` numbers the API; with `wait` the answer itself, if it is there in so many seconds.

        A 503 of an API with too much to do is asked again with its key, as it says.
        """
        url = self.api_urls[through % len(self.api_urls)]
        headers = {"Idempotency-Key": key or new_id(), **({"Prefer": f"wait={wait}"} if wait else {})}
        until = time.monotonic() + PATIENCE
        while True:
            response = await self.http.post(f"{url}/api/v1/chat", json=body, headers=headers)
            if not _busy(response) or time.monotonic() > until:
                return response
            self.busy.append(response)
            await asyncio.sleep(float(response.headers["retry-after"]))

    async def cancel(self, workflow_id: str) -> httpx.Response:
        return await self.http.post(f"{self.api_urls[0]}/api/v1/runs/{workflow_id}/cancel")

    async def finished(self, workflow_id: str) -> dict[str, Any]:
        """The run once it has ended."""
        until = time.monotonic() + PATIENCE
        while True:
            response = await self.http.get(f"{self.api_urls[0]}/api/v1/runs/{workflow_id}", params={"wait": 30})
            assert response.status_code == 200, response.text
            run: dict[str, Any] = response.json()
            if run["finished_at"]:
                return run
            assert time.monotonic() < until, f"{workflow_id} has not ended within {PATIENCE} s: {run}"

    async def usage(self) -> dict[str, Any]:
        response = await self.http.get(f"{self.api_urls[-1]}/api/v1/usage")
        assert response.status_code == 200, response.text
        month: dict[str, Any] = response.json()
        return month

    async def settled(self) -> tuple[dict[str, Any], float]:
        """(the month as soon as nothing is reserved, seconds until then)"""
        began = time.monotonic()
        while (month := await self.usage())["tokens_reserved"]:
            assert time.monotonic() < began + PATIENCE, f"still reserved after {PATIENCE} s: {month}"
            await asyncio.sleep(LOOK)
        return month, time.monotonic() - began


@asynccontextmanager
async def registered(stack: Stack, limit: int | None = None) -> AsyncIterator[Account]:
    """Of a tenant of its own; `limit` in tokens of a month."""
    timeout = httpx.Timeout(75, pool=None)
    async with httpx.AsyncClient(timeout=timeout, limits=CROWD, trust_env=False) as http:
        name = f"budget-{new_id()[:12]}"
        person = {"username": name, "password": PASSWORD}
        auth = f"{stack.api_url}/api/v1/auth"
        made = (await http.post(f"{auth}/register", json={**person, "email": f"{name}@example.com"})).json()
        tokens = (await http.post(f"{auth}/login", json=person)).json()
        http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        if limit is not None:
            changed = await http.patch(f"{auth}/users/{made['user_id']}", json={"token_limit": limit})
            assert changed.status_code == 200, changed.text
        yield Account(http, stack.api_urls, made["tenant_id"], made["user_id"])


async def reservation_of(stack: Stack, question: dict[str, Any]) -> int:
    """Tokens that are reserved for a question, as told while it waits for its answer."""
    async with registered(stack) as probe:
        stack.proxies["provider"].stall()
        try:
            asked = await probe.ask(question)
            reserved = (await probe.usage())["tokens_reserved"]
        finally:
            await stack.proxies["provider"].heal()
        await probe.finished(asked.json()["workflow_id"])
    return int(reserved)


def charge(tokens: int) -> dict[str, int]:
    """What the provider says it has taken; up to 8,000 are believed of any call."""
    return {"prompt_tokens": tokens - tokens // 2, "completion_tokens": tokens // 2, "total_tokens": tokens}


def refusal(reply: httpx.Response) -> tuple[int, str, int]:
    """(status, code, seconds until it is worth asking again)"""
    return reply.status_code, reply.json()["code"], int(reply.headers["retry-after"])


def _busy(response: httpx.Response) -> bool:
    return response.status_code == 503 and response.json()["code"] == "dependency_unavailable"
