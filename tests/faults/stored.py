"""What the stores really hold, read past the platform: rows, chunk ids, workflow histories, logs."""

import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import httpx
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from tests.faults.stack import Stack

OF_THE_CODE = {
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR,
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE,
}


@dataclass(frozen=True)
class Stored:
    """One tenant's part of every store."""

    stack: Stack
    temporal: Client
    tenant: str

    def rows(self, table: str, order: str = "1") -> list[dict[str, Any]]:
        query = f"SELECT * FROM {table} WHERE tenant_id = ? ORDER BY {order}"
        with closing(sqlite3.connect(f"file:{self.stack.home / 'moorage.db'}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(query, [self.tenant])]

    async def chunks(self) -> list[tuple[str, str]]:
        """(chunk id, `document:version`) of every object of the tenant."""
        where = self.stack.addresses
        headers = {"Authorization": f"Bearer {where.weaviate_api_key}"}
        async with httpx.AsyncClient(
            base_url=where.weaviate_url, headers=headers, timeout=20, trust_env=False
        ) as weaviate:
            classes = [one["class"] for one in (await weaviate.get("/v1/schema")).json()["classes"]]
            return [found for name in classes async for found in self._objects(weaviate, name)]

    async def _objects(self, weaviate: httpx.AsyncClient, name: str) -> AsyncIterator[tuple[str, str]]:
        after = ""
        while True:
            params = {"class": name, "tenant": self.tenant, "limit": "500", **({"after": after} if after else {})}
            response = await weaviate.get("/v1/objects", params=params)
            if response.status_code == 422:  # no such tenant in this class
                return
            objects = response.raise_for_status().json()["objects"]
            for one in objects:
                yield one["id"], one["properties"]["version"]
            if len(objects) < 500:
                return
            after = objects[-1]["id"]

    async def runs(self) -> list[WorkflowExecution]:
        """Every run of the tenant by id: visibility lags and knows no metering children."""
        query = f"WorkflowId STARTS_WITH '{{}}:{self.tenant}' "
        found = []
        for kind in ("chat", "ingest", "usage:chat", "usage:ingest"):
            found += [one async for one in self.temporal.list_workflows(query.format(kind))]
        return found

    async def histories(self) -> "list[History]":
        found = []
        for run in await self.runs():
            history = await self.temporal.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
            found.append(History(run.id, run.status, list(history.events)))
        return found

    def logs(self) -> Iterator[tuple[str, str]]:
        for file in (self.stack.home / "logs").glob("*.log"):
            yield file.name, file.read_text(errors="replace")


@dataclass(frozen=True, slots=True)
class History:
    workflow_id: str
    status: WorkflowExecutionStatus | None
    events: Sequence[Any]

    def failed_tasks(self) -> list[str]:
        """What workflow tasks failed with; news that overtook a decision, or a lost worker, is no fault of the code."""
        kind = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
        tasks = [event.workflow_task_failed_event_attributes for event in self.events if event.event_type == kind]
        return [task.failure.message for task in tasks if task.cause in OF_THE_CODE]

    def repeated(self) -> int:
        """Attempts of activities beyond the first."""
        kind = EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED
        return sum(
            event.activity_task_started_event_attributes.attempt - 1
            for event in self.events
            if event.event_type == kind
        )

    def holds(self, word: bytes) -> bool:
        return any(word in event.SerializeToString() for event in self.events)
