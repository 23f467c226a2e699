"""The whole platform inside one test process: real stores, both workers, and the API without a socket."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
from temporalio.client import Client

from api.app import create_app
from domain import names
from domain.names import new_id
from infra import temporal
from infra.services import Services, open_services
from infra.settings import Settings
from infra.sql.schema import upgrade
from infra.stack.addresses import Addresses
from infra.stack.stores import stores
from workflows.worker import WORKFLOWS, worker

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class User:
    """An account with its token."""

    http: httpx.AsyncClient
    tenant: str
    account: str

    async def upload(self, name: str, data: bytes, **fields: str) -> dict[str, Any]:
        """The finished run of an upload."""
        response = await self.http.post("/api/v1/documents", files={"file": (name, data)}, data=fields)
        assert response.status_code == 202, response.text
        return await self.finished(response.json()["workflow_id"])

    async def finished(self, workflow_id: str, state: str | None = None) -> dict[str, Any]:
        """The run once it has ended or parked; with a state, once it has come to that one."""
        while True:
            response = await self.http.get(f"/api/v1/runs/{workflow_id}", params={"wait": 60})
            assert response.status_code == 200, response.text
            run: dict[str, Any] = response.json()
            if run["state"] == (state or run["state"]):
                return run
            await asyncio.sleep(0.05)

    async def settled_usage(self, path: str = "/api/v1/usage") -> dict[str, Any]:
        """The month once nothing is reserved: metering is a child that nobody waits for."""
        async with asyncio.timeout(20):
            while True:
                usage: dict[str, Any] = (await self.http.get(path)).json()
                if not usage["tokens_reserved"]:
                    return usage
                await asyncio.sleep(0.05)

    async def ask(self, message: str, **fields: Any) -> dict[str, Any]:
        """The answer to a question."""
        response = await self.http.post(
            "/api/v1/chat", json={"message": message, **fields}, headers={"Prefer": "wait=60"}
        )
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer


@dataclass(frozen=True)
class Platform:
    services: Services
    client: Client
    http: httpx.AsyncClient

    async def user(self) -> User:
        """A new account in a tenant of its own."""
        username = f"user-{new_id()[:12]}"
        body = {"username": username, "email": f"{username}@example.com", "password": PASSWORD}
        account = (await self.http.post("/api/v1/auth/register", json=body)).json()
        tokens = (await self.http.post("/api/v1/auth/login", json={"username": username, "password": PASSWORD})).json()
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        http = api_client(self.services, headers)
        return User(http, account["tenant_id"], account["user_id"])


class StartPlatform(Protocol):
    """Starts a platform on the database that the suite is run on; other keywords are settings."""

    def __call__(self, name: str, *, work: bool = True, **settings: Any) -> AbstractAsyncContextManager[Platform]: ...


def api_client(services: Services, headers: dict[str, str] | None = None) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(services), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://moorage.test", headers=headers, timeout=70)


@asynccontextmanager
async def platform(
    home: Path,
    shared: Addresses,
    *,
    work: bool = True,
    adapt: Callable[[Services], Services] = lambda services: services,
    workflows: Mapping[str, Sequence[type]] = WORKFLOWS,
    **settings: Any,
) -> AsyncIterator[Platform]:
    """A Temporal of its own, so that no other test's workers take its tasks; Redis and Weaviate are shared by tenant.

    `work=False` leaves the workers out; `adapt` puts other adapters behind ports, `workflows` runs others by queue;
    other keywords are settings.
    """
    async with AsyncExitStack() as stack:
        common: dict[str, Any] = {
            "redis_url": shared.redis_url,
            "weaviate_url": shared.weaviate_url,
            "weaviate_grpc_port": shared.weaviate_grpc_port,
            "weaviate_api_key": shared.weaviate_api_key,
        }
        own = await stack.enter_async_context(stores(home, Settings().cache, Settings(**common)))
        chosen = Settings(
            home=home,
            temporal_address=own.temporal_address,
            temporal_ui_url=own.temporal_ui_url,
            **common,
            **settings,
        )
        await upgrade(chosen.database)
        client = await temporal.connect(chosen)
        services = adapt(await stack.enter_async_context(open_services(chosen, client)))
        await services.store.prepare(services.embedder.generation)
        for queue in names.QUEUES if work else ():
            await stack.enter_async_context(worker(client, services, queue, workflows=workflows[queue]))
        http = await stack.enter_async_context(api_client(services))
        yield Platform(services, client, http)
