"""Probes, metrics and the front page."""

from pathlib import Path

from infra.services import open_services
from infra.settings import Settings
from tests.platform import Platform, api_client


async def test_a_platform_with_all_its_parts_is_ready(quiet: Platform) -> None:
    ready = await quiet.http.get("/readyz")
    health = await quiet.http.get("/health")

    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "down": []})
    assert health.json()["dependencies"] == dict.fromkeys(["database", "redis", "weaviate", "blobs", "temporal"], "ok")


async def test_readiness_names_what_is_down_within_three_seconds_while_the_process_lives(
    tmp_path: Path, closed_port: int
) -> None:
    settings = Settings(
        home=tmp_path,
        temporal_address=f"127.0.0.1:{closed_port}",
        redis_url=f"redis://127.0.0.1:{closed_port}",
        weaviate_url=f"http://127.0.0.1:{closed_port}",
    )
    async with open_services(settings) as services, api_client(services) as http:
        ready = await http.get("/readyz")
        alive = await http.get("/healthz")

    assert (ready.status_code, alive.status_code) == (503, 200)
    assert ready.json()["down"] == ["redis", "weaviate", "temporal"]
    assert ready.elapsed.total_seconds() < 3


async def test_metrics_count_requests_by_route_not_by_path(quiet: Platform) -> None:
    user = await quiet.user()
    await user.http.get("/api/v1/documents/some-id-that-is-not-there")

    page = (await quiet.http.get("/metrics")).text

    assert 'route="/api/v1/documents/{document_id}"' in page
    assert "some-id-that-is-not-there" not in page


async def test_the_front_page_and_the_documentation_answer(quiet: Platform) -> None:
    front = await quiet.http.get("/")
    docs = await quiet.http.get("/docs")

    assert front.json()["name"] == "moorage"
    assert docs.status_code == 200
