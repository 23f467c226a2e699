"""What was admitted is started: by the request itself, or by the sweeper when Temporal was away."""

import time
from datetime import timedelta
from pathlib import Path

from activities.runs import SweepActivities
from domain import names
from domain.names import new_id
from infra import temporal
from infra.services import Services, open_services
from infra.settings import Settings
from infra.sql.schema import upgrade
from infra.stack.addresses import Addresses
from infra.stack.stores import stores
from tests.platform import Platform, User, api_client
from workflows.worker import worker


def sweeper(services: Services) -> SweepActivities:
    """One that does not wait until a command is half a minute old."""
    return SweepActivities(
        services.registry, services.runs, services.usage, services.events, services.engine, overlooked=timedelta(0)
    )


async def test_with_temporal_down_a_request_is_admitted_and_started_when_it_is_back(
    tmp_path: Path, addresses: Addresses
) -> None:
    shared = {
        "redis_url": addresses.redis_url,
        "weaviate_url": addresses.weaviate_url,
        "weaviate_grpc_port": addresses.weaviate_grpc_port,
        "weaviate_api_key": addresses.weaviate_api_key,
    }
    external = Settings(**shared)
    async with stores(tmp_path, external.cache, external) as own:
        settings = Settings(home=tmp_path, temporal_address=own.temporal_address, **shared)
    await upgrade(settings.database)
    async with open_services(settings) as services, api_client(services) as http:
        user = await Platform(services, None, http).user()
        question, key = {"message": "When does the lock open?"}, {"Idempotency-Key": "once"}

        began = time.monotonic()
        down = await user.http.post("/api/v1/chat", json=question, headers=key)
        took = time.monotonic() - began
        still_served = await user.http.get("/api/v1/documents")

        assert (down.status_code, down.json()["code"]) == (503, "dependency_unavailable")
        assert down.json()["run"].startswith(f"chat:{user.tenant}:")
        assert down.headers["location"].endswith(down.json()["run"])
        assert took < 3
        assert still_served.status_code == 200

        async with stores(tmp_path, external.cache, external) as again:
            assert again.temporal_address == own.temporal_address
            client = await temporal.connect(settings)
            async with open_services(settings, client) as later, worker(client, later, names.CHAT_QUEUE):
                repaired = await sweeper(later).sweep()
                repeated = await api_client(later, dict(user.http.headers)).post(
                    "/api/v1/chat", json=question, headers=key
                )
                run = await User(api_client(later, dict(user.http.headers)), "", "").finished(down.json()["run"])

        assert repaired == 1
        assert (repeated.status_code, repeated.json()["workflow_id"]) == (202, down.json()["run"])
        assert run["state"] == "succeeded"


async def test_a_sweep_leaves_runs_alone_that_are_under_way_or_over(quiet: Platform, user: User) -> None:
    await user.upload("a.txt", b"The lock opens at six.")
    await user.ask("When does the lock open?")
    await sweeper(quiet.services).sweep()

    repaired = await sweeper(quiet.services).sweep()

    assert repaired == 0


async def test_a_sweep_closes_the_row_of_a_run_that_was_ended_by_hand(quiet: Platform, user: User) -> None:
    """Otherwise the next turn of the conversation would wait for it."""
    principal = quiet.services.tokens.verify(user.http.headers["authorization"].removeprefix("Bearer ")).principal
    handle = await stuck(quiet, user)
    await handle.terminate("by hand")

    repaired = await sweeper(quiet.services).sweep()

    command = await quiet.services.runs.command(principal, handle.id)
    assert repaired == 1
    assert (command.outcome, command.error_code) == ("failed", "terminated")


async def test_a_run_that_was_never_started_is_cancelled_for_good(quiet: Platform, user: User) -> None:
    workflow_id = await admitted_only(quiet, user)

    response = await user.http.post(f"/api/v1/runs/{workflow_id}/cancel")

    assert (response.status_code, response.json()["state"]) == (202, "cancelled")
    assert await sweeper(quiet.services).sweep() == 0


async def admitted_only(quiet: Platform, user: User) -> str:
    """A turn whose process died between the transaction and the start."""
    from domain.chat import Ask

    principal = quiet.services.tokens.verify(user.http.headers["authorization"].removeprefix("Bearer ")).principal
    ask = Ask("When?", None, None, 0.7, 100, True, "default", (), {}, 5, 10, False)
    command = await quiet.services.admissions.admit_turn(principal, ask, None, new_id())
    return command.workflow_id


async def stuck(quiet: Platform, user: User):
    """A run on a queue that nobody works on."""
    workflow_id = await admitted_only(quiet, user)
    return await quiet.client.start_workflow("ChatTurn", id=workflow_id, task_queue=new_id())
