"""One version of a document from its bytes to the search index."""

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from agents import documents
    from domain.runs import Ingestion, State

from workflows.failures import cancelled, failure_of
from workflows.graphs import durable_graph
from workflows.reports import report
from workflows.usage import meter


@workflow.defn(failure_exception_types=[Exception])
class IngestDocument:
    @workflow.init
    def __init__(self, ingestion: Ingestion) -> None:
        self.app = durable_graph(documents.NAME).compile()

    @workflow.run
    async def run(self, ingestion: Ingestion) -> dict[str, Any]:
        """Counts; text, chunks and vectors are in the blob store and the index."""
        try:
            state = await self.app.ainvoke(_ids(ingestion))
        except (ActivityError, asyncio.CancelledError) as error:
            if cancelled(error):
                await report(ingestion.tenant, ingestion.account, State.CANCELLED)
                raise
            failure = failure_of(error)
            await report(ingestion.tenant, ingestion.account, State.FAILED, failure)
            raise failure.error() from None
        if state["billed"]:
            await meter(ingestion.tenant, ingestion.account)
        return {key: state[key] for key in ("characters", "pages", "chunks", "billed")}


def _ids(ingestion: Ingestion) -> dict[str, Any]:
    return {
        "tenant": ingestion.tenant,
        "account": ingestion.account,
        "document": ingestion.document,
        "version": ingestion.version,
    }
