"""Run the API until SIGTERM."""

import asyncio

import uvicorn

from api.app import create_app
from infra.services import Services, open_services
from infra.settings import Settings
from infra.telemetry import configure_logging


def serve(settings: Settings) -> None:
    configure_logging(settings.log_level, "api")
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    """Boots before its dependencies do: readiness says what is missing."""
    async with open_services(settings) as services:
        warming = asyncio.create_task(_warm(services))
        config = uvicorn.Config(
            create_app(services),
            host=settings.host,
            port=settings.port,
            http="h11",  # httptools was measured to accept a header of 5 MB
            access_log=False,
            server_header=False,
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=10,
        )
        await uvicorn.Server(config).serve()
        await warming


async def _warm(services: Services) -> None:
    """The first question would wait for the model, some seconds on a busy machine."""
    if services.embedder.billable:
        await services.tokenizer.counts(["warm"])
    else:
        await services.embedder.query("warm")
