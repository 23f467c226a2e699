"""Record golden histories: python -m tests.replay.record

Runs each workflow to each of its ends on a real platform and writes the histories beside this file. Only for
a workflow or an end that has none yet: an existing history is never recorded anew, it must keep replaying.
"""

import asyncio
import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowFailureError

from infra.settings import Settings
from infra.stack.stores import stores
from tests.platform import Platform, User, platform
from tests.provider.calls import PENDING
from tests.provider.script import Fault
from tests.provider.server import ScriptedProvider

HISTORIES = Path(__file__).parent / "histories"
LOCK = b"The harbour master opens the lock at six in the morning."
LONG = "The tide came in and the tide went out again. " * 200


async def main() -> None:
    HISTORIES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        async with stores(Path(scratch) / "stores", Settings().cache) as shared, ScriptedProvider() as provider:
            home = Path(scratch) / "home"
            async with platform(
                home,
                shared,
                openai_base_url=provider.base_url,
                openai_api_key="key",
                embedder="openai",
                embedding_dimensions=384,
            ) as running:
                await record(running, provider)


async def record(running: Platform, provider: ScriptedProvider) -> None:
    user = await running.user()
    uploaded = await user.upload("lock.txt", LOCK)
    await keep(running.client, uploaded["workflow_id"], "ingest-succeeded")
    broken = await user.upload("broken.pdf", b"%PDF-1.7 broken")
    await keep(running.client, broken["workflow_id"], "ingest-failed")
    first = await user.ask("When does the lock open?")
    await keep(running.client, first["workflow_id"], "chat-succeeded")
    second = await user.ask("And who opens it?", conversation_id=first["conversation_id"])
    await keep(running.client, second["workflow_id"], "chat-condensed")
    await summarized(running, user)
    alone = await user.ask("Say hello.", use_rag=False)
    await keep(running.client, alone["workflow_id"], "chat-without-retrieval")
    await failed(running, user, provider)
    await cancelled(running, user, provider)
    await parked(running, user, provider)
    async for run in running.client.list_workflows("WorkflowType = 'RecordUsage'", limit=1):
        await keep(running.client, run.id, "usage-succeeded")
    await running.client.start_workflow("Sweep", id="sweep-recorded", task_queue="documents")
    await keep(running.client, "sweep-recorded", "sweep-succeeded")
    await running.client.start_workflow("Reconcile", id="reconcile-recorded", task_queue="documents")
    await keep(running.client, "reconcile-recorded", "reconcile-succeeded")


async def summarized(running: Platform, user: User) -> None:
    """The third turn after two that together do not fit a window."""
    first = await user.ask(LONG, use_rag=False)
    await user.ask(LONG, conversation_id=first["conversation_id"], use_rag=False)
    third = await user.ask("And when does the lock open?", conversation_id=first["conversation_id"])
    await keep(running.client, third["workflow_id"], "chat-summarized")


async def failed(running: Platform, user: User, provider: ScriptedProvider) -> None:
    provider.script(Fault(status=500, kind="chat"), Fault(status=401, kind="chat"))
    asked = (await user.http.post("/api/v1/chat", json={"message": "When does the lock open?"})).json()
    await user.finished(asked["workflow_id"])
    await keep(running.client, asked["workflow_id"], "chat-failed-after-a-retry")


async def cancelled(running: Platform, user: User, provider: ScriptedProvider) -> None:
    provider.reset()
    provider.script(Fault.hang(2))
    asked = (await user.http.post("/api/v1/chat", json={"message": "When does the lock open?"})).json()
    await provider.until(lambda calls: len(calls) == 1)
    await user.http.post(f"/api/v1/runs/{asked['workflow_id']}/cancel")
    await keep(running.client, asked["workflow_id"], "chat-cancelled")
    provider.script(Fault.hang(0))
    response = await user.http.post("/api/v1/documents", files={"file": ("slow.txt", b"A slow document.")})
    workflow_id = response.json()["workflow_id"]
    await provider.until(lambda calls: len(calls) == 2)
    await user.http.post(f"/api/v1/runs/{workflow_id}/cancel")
    await keep(running.client, workflow_id, "ingest-cancelled")


async def parked(running: Platform, user: User, provider: ScriptedProvider) -> None:
    """Parked, and then each way out of it."""
    provider.reset()
    provider.script(Fault(status=401, kind="embedding", times=2))
    retried = await user.upload("lock.txt", LOCK, on_duplicate="new")
    await user.http.post(f"/api/v1/runs/{retried['workflow_id']}/replay")
    await user.finished(retried["workflow_id"], "parked")
    replayed = await user.http.post("/api/v1/runs/replay", json={"kind": "ingestion", "states": ["parked"]})
    await keep(running.client, replayed.json()["workflow_id"], "replay-succeeded")
    await keep(running.client, retried["workflow_id"], "ingest-parked-and-retried")
    for verb in ("abort", "cancel"):
        provider.script(Fault(status=401, kind="embedding"))
        run = await user.upload("lock.txt", LOCK, on_duplicate="new")
        await user.http.post(f"/api/v1/runs/{run['workflow_id']}/{verb}")
        await keep(running.client, run["workflow_id"], f"ingest-parked-then-{verb}")
        await keep(running.client, run["workflow_id"], f"ingest-{verb}-metered")
    provider.script(Fault.hang())
    response = await user.http.post("/api/v1/documents", files={"file": ("slow.txt", b"Another slow document.")})
    workflow_id = response.json()["workflow_id"]
    await provider.until(lambda calls: any(call.status == PENDING for call in calls))
    await user.http.post(f"/api/v1/runs/{workflow_id}/cancel")
    await keep(running.client, workflow_id, "ingest-cancelled-and-discarded")
    reset = await user.upload("broken.pdf", b"%PDF-1.7 broken again", on_duplicate="new")
    await user.http.post(f"/api/v1/runs/{reset['workflow_id']}/replay")
    await keep(running.client, reset["workflow_id"], "ingest-reset")


async def keep(client: Client, workflow_id: str, name: str) -> None:
    """Write the history of a run that has ended, or is about to."""
    handle = client.get_workflow_handle(workflow_id)
    async with asyncio.timeout(30):
        with suppress(WorkflowFailureError):  # how it ended is in the history
            await handle.result()
    path = HISTORIES / f"{name}.json"
    if path.exists():
        print(f"kept {path.name}")
        return
    recorded = (await handle.fetch_history()).to_json().replace(client.identity, "worker")
    path.write_text(json.dumps(_anonymous(json.loads(recorded)), indent=1) + "\n")
    print(f"wrote {path.name}")


def _anonymous(found: Any) -> Any:
    """Without the machine it was recorded on: replaying needs neither stack traces nor its name."""
    if isinstance(found, list):
        return [_anonymous(one) for one in found]
    if isinstance(found, dict):
        return {key: _anonymous(value) for key, value in found.items() if key != "stackTrace"}
    return found


if __name__ == "__main__":
    asyncio.run(main())
