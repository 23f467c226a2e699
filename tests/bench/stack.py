"""What is measured: a stack started as an operator starts it, reached over HTTP by a client process of its own."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from domain.names import new_id
from tests.platform import PASSWORD

SAMPLES = Path(__file__).parents[2] / "cli" / "samples"
LIMIT = "1000000000000"  # tokens: no budget may end a measurement
CLIENTS = 1024


@dataclass(frozen=True)
class Stack:
    """One account's way into a running stack."""

    http: httpx.AsyncClient
    temporal_address: str
    metrics_urls: tuple[str, ...] = ()
    pids: Mapping[str, int] = field(default_factory=dict)

    @asynccontextmanager
    async def stranger(self) -> AsyncIterator["Stack"]:
        """Another tenant's way into the same stack, with the demo's documents too."""
        async with _client(str(self.http.base_url)) as http:
            stranger = replace(self, http=http)
            await stranger.samples()
            yield stranger

    def memory(self, kind: str) -> float:
        """Resident megabytes of all processes of this kind: `api`, `worker-chat`, `worker-documents`."""
        pids = [pid for name, pid in self.pids.items() if name.startswith(kind)]
        assert pids, f"no process is a {kind}"
        return sum(map(_resident, pids))

    async def start(self, message: str) -> str:
        """The workflow id of a question that is being answered."""
        response = await self.http.post("/api/v1/chat", json={"message": message})
        assert response.status_code == 202, response.text
        workflow_id: str = response.json()["workflow_id"]
        return workflow_id

    async def ask(self, message: str) -> dict[str, Any]:
        response = await self.http.post("/api/v1/chat", json={"message": message}, headers={"Prefer": "wait=60"})
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        assert answer["finish_reason"] == "stop", answer
        return answer

    async def upload(self, name: str, data: bytes, **fields: str) -> str:
        response = await self.http.post("/api/v1/documents", files={"file": (name, data)}, data=fields)
        assert response.status_code == 202, response.text
        workflow_id: str = response.json()["workflow_id"]
        return workflow_id

    async def ready(self, workflow_id: str) -> dict[str, Any]:
        run: dict[str, Any] = {"finished_at": None}
        until = time.monotonic() + 300
        while not run["finished_at"] and time.monotonic() < until:
            run = (await self.http.get(f"/api/v1/runs/{workflow_id}", params={"wait": 60})).json()
        assert run["state"] == "succeeded", run
        return run

    async def samples(self) -> None:
        """The demo's documents."""
        names = sorted(path for path in SAMPLES.iterdir() if path.suffix in {".md", ".pdf"} and path.name[0].islower())
        for run in [await self.upload(path.name, path.read_bytes()) for path in names]:
            await self.ready(run)


@asynccontextmanager
async def launched(home: Path, **settings: str) -> AsyncIterator[Stack]:
    """All processes of `moorage dev`, and an account with the demo's documents; stopped afterwards."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOORAGE_")}
    environment |= {
        "MOORAGE_RATE_LIMIT": "0",
        "MOORAGE_RATE_LIMIT_ANONYMOUS": "0",
    }  # the limits are not what is measured
    environment |= {"MOORAGE_TOKEN_LIMIT": LIMIT, "MOORAGE_LOG_LEVEL": "WARNING", **settings}
    report = json.loads(await _moorage(environment, "dev", "--detach", "--home", str(home)))
    try:
        async with _client(report["api_url"]) as http:
            pids = {process["name"]: process["pid"] for process in report["processes"]}
            stack = Stack(http, report["temporal_address"], tuple(report["metrics_urls"]), pids)
            await stack.samples()
            yield stack
    finally:
        await _moorage(environment, "stop", "--home", str(home))


@asynccontextmanager
async def _client(base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """An account of a tenant of its own."""
    limits = httpx.Limits(max_connections=CLIENTS, keepalive_expiry=None)  # see tests/faults/account.py
    async with httpx.AsyncClient(base_url=base_url, timeout=90, limits=limits, trust_env=False) as http:
        http.headers["Authorization"] = f"Bearer {await _account(http)}"
        yield http


@asynccontextmanager
async def provider() -> AsyncIterator[str]:
    """The base URL of a scripted provider without latency, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.provider", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield json.loads(await process.stdout.readline())["base_url"]
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def scripted(base_url: str, **manners: float | str) -> AsyncIterator[None]:
    """The provider behaves like this for a while: `latency` and `pace` in seconds, `answer`."""
    script = f"{base_url.removesuffix('/v1')}/_script"
    async with httpx.AsyncClient(timeout=30, trust_env=False) as model:
        (await model.post(script, json=manners)).raise_for_status()
        try:
            yield
        finally:
            (await model.post(script, json={"reset": True})).raise_for_status()


def _resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


async def _account(http: httpx.AsyncClient) -> str:
    username = f"bench-{new_id()[:12]}"
    body = {"username": username, "email": f"{username}@example.com", "password": PASSWORD}
    (await http.post("/api/v1/auth/register", json=body)).raise_for_status()
    tokens = await http.post("/api/v1/auth/login", json={"username": username, "password": PASSWORD})
    token: str = tokens.json()["access_token"]
    return token


async def _moorage(environment: dict[str, str], *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli.main", *words, env=environment, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, f"moorage {' '.join(words)} ended with {process.returncode}"
    return out.decode()
