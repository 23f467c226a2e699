"""Bring the stores to what this version needs: schema, search index, schedules. Safe to run again."""

import asyncio

import structlog

from infra import temporal
from infra.services import open_services
from infra.settings import Settings
from infra.sql.schema import upgrade
from infra.telemetry import configure_logging
from infra.temporal import TemporalEngine

LINGER = 0.2  # seconds; a process that ends at once was measured to crash in interpreter teardown

_log = structlog.get_logger()


def migrate(settings: Settings) -> None:
    configure_logging(settings.log_level, "migrate")
    asyncio.run(_migrate(settings))


async def _migrate(settings: Settings) -> None:
    settings.home.mkdir(parents=True, exist_ok=True)
    await upgrade(settings.database)
    client = await temporal.connect(settings)
    async with open_services(settings, client) as services:
        await services.store.prepare(services.embedder.generation)
    engine = TemporalEngine(client)
    await engine.schedule_sweeps()
    await engine.schedule_reconciling()
    _log.info("migrated")
    await asyncio.sleep(LINGER)
