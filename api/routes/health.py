"""Is the process alive, is it ready, and which part is not."""

import asyncio

from fastapi import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.deps import Platform
from api.routing import Router
from domain.errors import MoorageError
from infra.services import Ping, Services
from infra.version import VERSION

router = Router(tags=["health"])
metrics_router = Router()


@router.get("/", include_in_schema=False)
async def root(platform: Platform) -> dict[str, object]:
    settings = platform.settings
    links = {"health": "/health", "docs": "/docs" if settings.shows_docs else None}
    if settings.is_dev:
        links["temporal_ui"] = settings.temporal_ui_url
    return {"name": "moorage", "version": VERSION, "links": links}


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """The process lives; says nothing about what it depends on."""
    return {"status": "ok"}


@router.get("/readyz")
async def ready(platform: Platform, response: Response) -> dict[str, object]:
    """503 names every dependency that does not answer."""
    down = [name for name, answer in (await _check(platform)).items() if answer != "ok"]
    if down:
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return {"status": "unavailable" if down else "ok", "down": down}


@router.get("/health")
async def health(platform: Platform, response: Response) -> dict[str, object]:
    """Readiness for people: each dependency with its state."""
    checks = await _check(platform)
    healthy = all(answer == "ok" for answer in checks.values())
    response.status_code = 200 if healthy else 503
    return {"status": "ok" if healthy else "unavailable", "version": VERSION, "dependencies": checks}


@metrics_router.get("/metrics", include_in_schema=False)
async def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _check(platform: Services) -> dict[str, str]:
    answers = await asyncio.gather(*(_answer(ping) for ping in platform.pings.values()))
    return dict(zip(platform.pings, answers, strict=True))


async def _answer(ping: Ping) -> str:
    try:
        await ping()
    except MoorageError as error:
        return error.code
    return "ok"
