"""Two replicas that are started at the same moment on empty stores, each migrating before it serves."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from infra.settings import Settings
from infra.stack.addresses import Addresses
from infra.stack.environment import plain
from infra.stack.ports import Ports
from infra.stack.process import Process
from infra.stack.stores import stores
from infra.stack.supervisor import Supervisor
from tests.platform import PASSWORD
from tests.postgres import Postgres

pytestmark = pytest.mark.stack
MOORAGE = str(Path(sys.executable).with_name("moorage"))


@pytest.fixture
async def empty_stores(tmp_path: Path) -> AsyncIterator[Addresses]:
    async with stores(tmp_path / "stores", Settings().cache) as found:
        yield found


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "logs")
    yield supervisor
    await supervisor.stop()


@pytest.fixture(params=["sqlite", "postgres"])
async def environment(
    request: pytest.FixtureRequest, tmp_path: Path, empty_stores: Addresses, postgres: Postgres
) -> dict[str, str]:
    database = {"MOORAGE_DATABASE_URL": await postgres.empty()} if request.param == "postgres" else {}
    return plain({**empty_stores.environment(), **database, "MOORAGE_HOME": str(tmp_path / "home")})


async def test_both_start_at_once_and_serve_the_same_accounts(
    tmp_path: Path, supervisor: Supervisor, environment: dict[str, str]
) -> None:
    ports = Ports(tmp_path / "ports.json")
    first, second = (f"http://127.0.0.1:{ports.port(name)}" for name in ("one", "two"))

    await asyncio.gather(*(replica(supervisor, environment, url) for url in (first, second)))

    async with httpx.AsyncClient(timeout=10) as http:
        person = {"username": "haruto", "password": PASSWORD}
        registered = await http.post(f"{first}/api/v1/auth/register", json={**person, "email": "haruto@example.com"})
        logged_in = await http.post(f"{second}/api/v1/auth/login", json=person)
    assert (registered.status_code, logged_in.status_code) == (201, 200)
    assert [status.restarts for status in supervisor.statuses()] == [0, 0]


async def replica(supervisor: Supervisor, environment: dict[str, str], url: str) -> None:
    """Raises DidNotStart when one of the two does not succeed the first time."""
    port = url.rpartition(":")[2]

    async def ready() -> bool:
        async with httpx.AsyncClient(timeout=5) as http:
            try:
                return (await http.get(f"{url}/readyz")).is_success
            except httpx.TransportError:
                return False

    await supervisor.run(Process(name=f"migrate-{port}", command=[MOORAGE, "migrate"], environment=environment))
    mine = {**environment, "MOORAGE_PORT": port}
    await supervisor.start([Process(name=f"api-{port}", command=[MOORAGE, "api"], environment=mine, ready=ready)])
