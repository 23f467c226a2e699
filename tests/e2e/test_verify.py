"""`moorage verify` as its user types it, against stores that a home's env file names."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain.accounts import Principal
from domain.names import blob, version_key
from infra.stack.addresses import Addresses
from infra.stack.envfile import EnvFile
from tests.platform import Platform, platform


@pytest.fixture
async def running(tmp_path: Path, addresses: Addresses) -> AsyncIterator[Platform]:
    async with platform(tmp_path, addresses) as found:
        where = {"MOORAGE_TEMPORAL_ADDRESS": found.services.settings.temporal_address}
        EnvFile(tmp_path / "env").write({**addresses.environment(), **where})
        yield found


async def verify(home: Path, *words: str) -> tuple[int, str]:
    """Exit code and standard output."""
    command = [str(Path(sys.executable).with_name("moorage")), "verify", "--home", str(home), *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOORAGE_")}
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env=environment, cwd=home.parent
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_verify_says_what_differs_and_mends_what_is_safe_to_mend(running: Platform, tmp_path: Path) -> None:
    user = await running.user()
    first, second = [await user.upload(f"{name}.txt", name.encode() * 20) for name in ("lock ", "quay ")]
    services, principal = running.services, Principal(user.tenant, user.account)
    clean = await verify(tmp_path)

    generation, index = services.embedder.generation, version_key(first["document_id"], 1)
    lost = version_key(second["document_id"], 1)
    await services.store.delete(principal, generation, index)
    await services.blobs.delete(principal, blob(second["document_id"], 1, ""))
    differing = await verify(tmp_path, "--json")
    mended = await verify(tmp_path, "--repair")

    assert clean == (0, "1 tenants, 0 months, 0 runs, 0 calls compared: nothing differs.\n")
    assert differing[0] == 1
    report = json.loads(differing[1])
    assert (report["found"], report["repaired"]) == ({"index_differs": 1, "blob_missing": 1}, {})
    assert {(each["subject"], each["expected"], each["found"]) for each in report["findings"]} == {
        (index, 1, 0),
        (lost, 3, 0),
    }
    assert mended[0] == 1
    assert mended[1].endswith("0 runs, 0 calls compared; repaired: 0 of 1 blob_missing, 1 of 1 index_differs.\n")
    assert await services.store.count(principal, generation, index) == 1


async def test_verify_without_its_stores_says_so(tmp_path: Path, closed_port: int) -> None:
    EnvFile(tmp_path / "env").write({"MOORAGE_DATABASE_URL": f"postgresql+asyncpg://u:p@127.0.0.1:{closed_port}/m"})

    assert await verify(tmp_path) == (2, "")
