"""One stack for all scenarios, a world for each; on failure its history is kept beside the stack's logs."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Generator
from contextlib import suppress
from typing import Any

import pytest
from temporalio.client import Client as Temporal

from tests.faults.client import Client, joined
from tests.faults.figures import Figures
from tests.faults.nemesis import Nemesis
from tests.faults.oplog import OpLog
from tests.faults.stack import Stack, launched
from tests.faults.world import World, heal

SEED = int(os.environ.get("FAULTS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
FAILED = pytest.StashKey[bool]()
FIGURES = pytest.StashKey[Figures]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if figures := config.stash.get(FIGURES, None):
        terminalreporter.section(f"faults, seed {SEED}")
        for line in figures.lines():
            terminalreporter.line(line)


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with launched(tmp_path_factory.mktemp("faults") / "home", seed=SEED) as running:
        yield running


@pytest.fixture(scope="session")
async def nemesis(stack: Stack) -> AsyncIterator[Nemesis]:
    nemesis = Nemesis(stack)
    watching = asyncio.create_task(nemesis.watch())
    yield nemesis
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


@pytest.fixture(scope="session")
async def temporal(stack: Stack) -> Temporal:
    return await Temporal.connect(stack.addresses.temporal_address, lazy=True)


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest, nemesis: Nemesis) -> Figures:
    figures = Figures(nemesis)
    request.config.stash[FIGURES] = figures
    return figures


@pytest.fixture
async def world(
    request: pytest.FixtureRequest, stack: Stack, nemesis: Nemesis, temporal: Temporal, figures: Figures
) -> AsyncIterator[World]:
    print(f"\n{request.node.name} (FAULTS_SEED={SEED})")
    world = World(stack, nemesis, temporal, OpLog(SEED), figures)
    await heal(world)
    await stack.unlimited()
    stack.provider.reset()
    stack.provider.manners.numbered = True
    yield world
    await heal(world)
    if request.node.stash.get(FAILED, False):
        file = stack.home / f"{request.node.name.replace('/', '_')}.jsonl"
        world.log.dump(file)
        print(f"history kept in {file}")


@pytest.fixture
async def client(world: World) -> AsyncIterator[Client]:
    client = await joined(world.stack.api_url, world.log)
    yield client
    await client.http.aclose()
