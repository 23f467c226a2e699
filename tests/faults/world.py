"""assert_world: the invariants that hold after every scenario, whatever was broken in it."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx
from temporalio.client import Client as Temporal
from temporalio.client import WorkflowExecutionStatus

from domain.names import chunk_id, version_key
from tests.faults.balance import balanced
from tests.faults.client import Client
from tests.faults.figures import Figures
from tests.faults.nemesis import Nemesis
from tests.faults.oplog import Operation, OpLog
from tests.faults.stack import Stack
from tests.faults.stored import Stored

TYPED = {503, 504}
FRESH = 30.0  # seconds for new work after all is mended


@dataclass
class World:
    """One scenario's stack, its users and its history."""

    stack: Stack
    nemesis: Nemesis
    temporal: Temporal
    log: OpLog
    figures: Figures

    def stored(self, client: Client) -> Stored:
        return Stored(self.stack, self.temporal, client.tenant)


async def assert_world(
    world: World, *clients: Client, failed: frozenset[str] = frozenset(), seconds: float = 60
) -> None:
    """`failed` names the workflows that were meant to fail or be cancelled."""
    await heal(world)
    for client in clients:
        await idle(world.stored(client), seconds)
        await fresh_work_succeeds(client)
        await idle(world.stored(client), seconds)
        await documents_are_whole(world.stored(client), client, failed)
        await documents_are_found(world.stored(client), client)
        await conversations_are_whole(world.stored(client), client, failed)
        await histories_are_clean(world, client)
        budgets_are_settled(world.stored(client))
        logs_keep_secrets(world.stored(client), client)
    ledger_is_the_providers(world, clients)
    refusals_are_typed(world.log)
    world.figures.scenarios += 1


async def heal(world: World) -> None:
    world.stack.arm()
    for proxy in world.stack.proxies.values():
        await proxy.heal()
    for status in world.stack.supervisor.statuses():
        world.nemesis.resume(status.name)
    await world.nemesis.ready()


async def struck(world: World, seconds: float = 20.0) -> None:
    """A failpoint has been reached."""
    async with asyncio.timeout(seconds):
        while not world.stack.struck():
            await asyncio.sleep(0.05)


async def idle(stored: Stored, seconds: float) -> None:
    """I10: no run goes on for ever."""
    until = time.monotonic() + seconds
    while True:
        left = [row["workflow_id"] for row in stored.rows("commands") if row["outcome"] is None]
        running = [] if left else [run.id for run in await stored.runs() if _open(run.status)]
        reserved = sum(row["reserved"] for row in stored.rows("budgets"))
        if not left and not running and not reserved:
            return
        assert time.monotonic() < until, f"open after {seconds} s: {left or running or reserved}"
        await asyncio.sleep(0.3)


async def fresh_work_succeeds(client: Client) -> None:
    """I8: five uploads and a conversation within 30 s."""
    async with asyncio.timeout(FRESH):
        uploads = await asyncio.gather(*(client.upload() for _ in range(5)))
        first = await client.ask("What came in today?")
        second = await client.ask("And before that?", first.conversation_id)
        await asyncio.gather(*(client.ready(upload, FRESH) for upload in uploads))
        await asyncio.gather(*(client.answered(question, FRESH) for question in (first, second)))


async def documents_are_whole(stored: Stored, client: Client, failed: frozenset[str]) -> None:
    """I1: one state each; ready exactly when the index holds every chunk of it once, and no other chunk is there."""
    documents = {row["id"]: row for row in stored.rows("documents")}
    versions = {(row["document_id"], row["version"]): row for row in stored.rows("versions")}
    assert Counter(list(documents)) == Counter(upload.document_id for upload in client.uploads)
    expected = set()
    for (document, version), row in versions.items():
        assert row["outcome"] == ("ready" if row["workflow_id"] not in failed else row["outcome"]), row
        live = documents[document]["live_version"] == version
        assert live is (row["outcome"] == "ready"), row
        if live:
            key = version_key(document, version)
            expected |= {(chunk_id(client.tenant, document, version, at), key) for at in range(row["chunks"])}
    found = Counter(await stored.chunks())
    staged = {version_key(*key) for key, row in versions.items() if row["workflow_id"] in failed}
    found = Counter({one: times for one, times in found.items() if one[1] not in staged})
    assert found == Counter(expected)


async def documents_are_found(stored: Stored, client: Client) -> None:
    """I2: list, get and search agree."""
    listed: dict[str, Any] = {}
    cursor: dict[str, str] = {}
    while True:
        page = await client.get("/api/v1/documents", limit=100, **cursor)
        listed |= {item["document_id"]: item for item in page["items"]}
        if not page["next_cursor"]:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert listed.keys() == {upload.document_id for upload in client.uploads}
    ready = [upload for upload in client.uploads if listed[upload.document_id]["state"] == "ready"]
    for upload in ready[:40]:
        document = await client.get(f"/api/v1/documents/{upload.document_id}")
        assert (document["state"], document["filename"]) == ("ready", upload.name)
        response = await client.search(upload.probe)
        assert response is not None
        assert response.status_code == 200, response.text
        assert response.json()["results"][0]["document_id"] == upload.document_id


async def conversations_are_whole(stored: Stored, client: Client, failed: frozenset[str]) -> None:
    """I3: whole turns in order, each once."""
    turns = stored.rows("turns", "conversation_id, seq")
    assert Counter(row["workflow_id"] for row in turns) == Counter(one.workflow_id for one in client.questions)
    asked: dict[str, list[dict[str, Any]]] = {}
    for row in turns:
        asked.setdefault(row["conversation_id"], []).append(row)
        assert row["outcome"] == "succeeded" or row["workflow_id"] in failed, row
    for conversation, rows in asked.items():
        assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
        history = await client.get(f"/api/v1/chat/conversations/{conversation}/history", limit=100)
        said = [(message["role"], message["content"]) for message in history["messages"]]
        expected = [
            line
            for row in rows
            if row["answer"] is not None  # whole, or until somebody stopped it
            for line in (("user", row["question"]), ("assistant", row["answer"]))
        ]
        assert [line for line in said if line[0] == "assistant"] == [
            line for line in expected if line[0] == "assistant"
        ]
        assert set(expected) <= set(said)


async def histories_are_clean(world: World, client: Client) -> None:
    """I6, I10: ids and codes only; no run is stuck on a workflow task that fails."""
    for history in await world.stored(client).histories():
        assert not history.holds(client.canary.encode()), history.workflow_id
        assert history.failed_tasks() == [], (history.workflow_id, history.failed_tasks())
        world.figures.repeated += history.repeated()
    world.figures.documents += len(client.uploads)
    world.figures.turns += len(client.questions)


def budgets_are_settled(stored: Stored) -> None:
    """I5, and the counter of I4: nothing reserved, and what is counted is what the ledger says."""
    calls = [row for row in stored.rows("provider_calls") if row["purpose"] != "embedding" and row["billable"]]
    spent = sum(row["prompt_tokens"] + row["completion_tokens"] for row in calls if row["delivery"] != "retried")
    budgets = stored.rows("budgets")
    limit = stored.rows("accounts")[0]["token_limit"]
    assert sum(row["reserved"] for row in budgets) == 0
    assert sum(row["used"] for row in budgets) == spent
    assert all(row["used"] <= limit for row in budgets)


def ledger_is_the_providers(world: World, clients: tuple[Client, ...]) -> None:
    """I4: what was delivered has a line with its figures, what came to nothing too, and nothing was made up."""
    rows = [row for client in clients for row in world.stored(client).rows("provider_calls")]
    balance = balanced(world.stack.provider.calls, rows)
    world.figures.calls += balance.calls
    world.figures.surplus += balance.unheard


def logs_keep_secrets(stored: Stored, client: Client) -> None:
    """I6: what people wrote is in no log."""
    assert [name for name, text in stored.logs() if client.canary in text] == []


def refusals_are_typed(log: OpLog) -> None:
    """I7: no 5xx but 503 and 504, and those as problems that say when to try again."""
    wrong = [one for one in log.operations if one.status >= 500 and not _is_typed(one)]
    assert wrong == []


def _is_typed(one: Operation) -> bool:
    return one.status in TYPED and one.kind.startswith("application/problem+json") and one.retry_after.isdecimal()


def _open(status: WorkflowExecutionStatus | None) -> bool:
    return status is WorkflowExecutionStatus.RUNNING


async def alive(world: World, path: str) -> httpx.Response:
    """A look at the API's own state, without waiting for long."""
    async with httpx.AsyncClient(base_url=world.stack.api_url, timeout=5, trust_env=False) as http:
        return await http.get(path)
