"""Run the API until SIGTERM."""

import asyncio
import socket

import uvicorn
from starlette.types import ASGIApp

from api.app import create_app
from api.gate import LONGEST_HEADERS
from api.protocol import KEEP_ALIVE, DeadlineProtocol
from infra.services import open_services
from infra.settings import Settings
from infra.telemetry import configure_logging


def serve(settings: Settings) -> None:
    if not settings.trusted_hosts:
        raise SystemExit("MOORAGE_HOSTS: production needs the names that the API answers to (or `*`)")
    configure_logging(settings.log_level, "api")
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    """Boots before its dependencies do: readiness says what is missing."""
    async with open_services(settings) as services:
        await uvicorn.Server(config(create_app(services), settings)).serve(_sockets(settings))


def _sockets(settings: Settings) -> list[socket.socket] | None:
    """One of several APIs shares the port with the others, between which the kernel spreads connections; at a port of
    its own it can be asked how it is. None: uvicorn opens the usual one."""
    if not settings.metrics_port:
        return None
    shared = socket.create_server((settings.host, settings.port), reuse_port=True)
    return [shared, socket.create_server(("127.0.0.1", settings.metrics_port))]


def config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=DeadlineProtocol,  # on h11: httptools was measured to accept a header of 5 MB
        ws="none",
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        h11_max_incomplete_event_size=LONGEST_HEADERS,
        access_log=False,
        server_header=False,
        log_config=None,
        lifespan="off",
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=10,
    )
