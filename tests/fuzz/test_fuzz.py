"""Thousands of requests made from the live OpenAPI against a real server: no fault, and every refusal in its shape."""

import asyncio
import os
import time
from collections.abc import AsyncIterator

import pytest
import requests

from api.app import create_app
from infra.stack.addresses import Addresses
from tests.api.serving import serving
from tests.fuzz.requests import Fuzz
from tests.platform import Platform, platform

REQUESTS = int(os.environ.get("MOORAGE_FUZZ_REQUESTS", "1200"))
SEED = int(os.environ.get("MOORAGE_FUZZ_SEED", "20250101"))
PROBLEM = {"type", "title", "status", "detail", "instance", "code", "request_id"}


@pytest.fixture(scope="module")
async def idle(tmp_path_factory: pytest.TempPathFactory, addresses: Addresses) -> AsyncIterator[Platform]:
    """Admits everything and works on nothing."""
    limits = {"token_limit": 10**12}
    async with platform(tmp_path_factory.mktemp("idle"), addresses, work=False, **limits) as running:
        yield running


@pytest.fixture(scope="module")
async def base_url(idle: Platform) -> AsyncIterator[str]:
    async with serving(idle) as server:
        yield server.url


def wrong(response: requests.Response) -> str | None:
    headers = response.headers
    if response.status_code >= 500 and response.request.path_url.split("?")[0] not in ("/readyz", "/health"):
        return "fault"
    if "x-request-id" not in headers or headers.get("x-content-type-options") != "nosniff":
        return "without its id or policy"
    if response.status_code >= 400:
        if headers["content-type"] != "application/problem+json":
            return "no problem"
        problem = response.json()
        if not problem.keys() >= PROBLEM or problem["status"] != response.status_code:
            return "a problem with another shape"
        if problem["request_id"] != headers["x-request-id"]:
            return "another request's id"
    return None


@pytest.mark.timeout(60 + REQUESTS // 10)
async def test_no_request_that_can_be_made_from_the_openapi_is_a_fault(idle: Platform, base_url: str) -> None:
    user = await idle.user()
    upload = await user.http.post("/api/v1/documents", files={"file": ("a.txt", b"The lock opens at six.")})
    turn = (await user.http.post("/api/v1/chat", json={"message": "When does the lock open?"})).json()
    known = {
        "document_id": upload.json()["document_id"],
        "workflow_id": turn["workflow_id"],
        "conversation_id": turn["conversation_id"],
        "name": "default",
    }
    token = user.http.headers["authorization"].removeprefix("Bearer ")
    fuzz = Fuzz(base_url, create_app(idle.services).openapi(), token, known, SEED)

    began = time.monotonic()
    seen = await asyncio.to_thread(fuzz.run, REQUESTS, wrong)
    took = time.monotonic() - began

    print(f"seed {SEED}: {seen.statuses.total()} requests in {took:.0f} s, slowest {seen.slowest:.2f} s")
    print(f"{dict(sorted(seen.statuses.items()))} over {len(seen.operations)} operations")
    assert seen.findings[:5] == []
    assert seen.statuses.total() >= REQUESTS
    assert min(seen.operations.values()) >= 1
    assert seen.statuses["200"] + seen.statuses["202"] > REQUESTS / 50
