"""A run that is replayed from its beginning at every step buys nothing twice."""

import asyncio

from temporalio.api.enums.v1 import EventType

from domain import names
from domain.accounts import Principal
from domain.usage import Delivery, Purpose, month_of
from infra.sql.database import utc_now
from tests.platform import StartPlatform
from tests.provider.server import ScriptedProvider
from workflows.worker import worker

REPLAYED = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED


async def test_replay_without_a_cache_bills_nothing(start_platform: StartPlatform, provider: ScriptedProvider) -> None:
    provider.reset()
    bought = {"openai_base_url": provider.base_url, "openai_api_key": "test-key", "embedder": "openai"}
    async with start_platform("forgetful", work=False, embedding_dimensions=384, **bought) as forgetful:
        workers = [worker(forgetful.client, forgetful.services, queue, cached=0) for queue in names.QUEUES]
        async with workers[0], workers[1]:
            user = await forgetful.user()
            await user.upload("lock.txt", b"The lock opens at six in the morning.")
            provider.reset()
            first = await user.ask("When does the lock open?")
            second = await user.ask("And who opens it?", conversation_id=first["conversation_id"])
            while (await user.http.get("/api/v1/usage")).json()["tokens_reserved"]:
                await asyncio.sleep(0.05)
            history = await forgetful.client.get_workflow_handle(second["workflow_id"]).fetch_history()
            month = month_of(utc_now())
            page = await forgetful.services.usage.lines(
                Principal(user.tenant, user.account), month, limit=100, cursor=None
            )
            used = (await user.http.get("/api/v1/usage")).json()["tokens_used"]

    lines = [line for line in page.items if line.workflow_id in (first["workflow_id"], second["workflow_id"])]
    calls = [(call.kind, call.prompt_tokens, call.completion_tokens) for call in provider.calls]
    kinds = {Purpose.CHAT: "chat", Purpose.CONDENSE: "chat", Purpose.EMBEDDING: "embedding"}
    assert len([event for event in history.events if event.event_type == REPLAYED]) >= 3
    assert len(calls) == 5
    assert sorted((kinds[line.purpose], line.prompt_tokens, line.completion_tokens) for line in lines) == sorted(calls)
    assert {line.delivery for line in lines} == {Delivery.DELIVERED}
    assert used == sum(read + written for kind, read, written in calls if kind == "chat")
