"""One version of a document from its bytes to the search index; a step that gives up parks the run."""

import asyncio
from contextlib import suppress
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.documents import Discard, DocumentActivities
    from agents import documents
    from agents.options import DISCARD, LAST_WRITES, PARKED_FOR
    from domain import names
    from domain.runs import Ingestion, State

from workflows.failures import Failure, cancelled, failure_of
from workflows.graphs import durable_graph
from workflows.reports import report
from workflows.usage import meter

STATE = SearchAttributeKey.for_keyword(names.INGEST_STATE)
STEP = SearchAttributeKey.for_keyword(names.FAILED_STEP)
ERROR = SearchAttributeKey.for_keyword(names.ERROR_TYPE)
SINCE = SearchAttributeKey.for_datetime(names.PARKED_AT)

THREAD: Any = {"configurable": {"thread_id": "document"}}  # of the checkpoint, which lives in this run's memory
GOING = "running"
FREE = "parse"  # the step before anything is bought
METERED = "meter-every-end"  # runs before it were metered only when they had succeeded
RESULT = ("characters", "pages", "chunks", "billed")


@workflow.defn(failure_exception_types=[Exception])
class IngestDocument:
    @workflow.init
    def __init__(self, ingestion: Ingestion) -> None:
        self.app = durable_graph(documents.NAME).compile(checkpointer=InMemorySaver())
        self.decision: str | None = None

    @workflow.run
    async def run(self, ingestion: Ingestion) -> dict[str, Any]:
        """Counts; text, chunks and vectors are in the blob store and the index."""
        try:
            state = await self._through(ingestion)
        except (ActivityError, asyncio.CancelledError) as error:
            if cancelled(error):
                await report(ingestion.tenant, ingestion.account, State.CANCELLED)
                if workflow.patched(METERED):
                    await meter(ingestion.tenant, ingestion.account)
                if workflow.patched("discard"):
                    await self._discard(ingestion, derived=True)
                raise
            failure = failure_of(error)
            await report(ingestion.tenant, ingestion.account, State.FAILED, failure)
            if failure.step != FREE and workflow.patched(METERED):
                await meter(ingestion.tenant, ingestion.account)
            if failure.closed or not failure.final:
                await self._discard(ingestion, derived=failure.closed)
            raise failure.error() from None
        if state["billed"]:
            await meter(ingestion.tenant, ingestion.account)
        return {key: state[key] for key in RESULT}

    @workflow.signal(description="Run the step that failed again.")
    def retry(self) -> None:
        self.decision = "retry"

    @workflow.signal(description="Give up; the run fails and its chunks are taken away.")
    def abort(self) -> None:
        self.decision = "abort"

    async def _through(self, ingestion: Ingestion) -> dict[str, Any]:
        """Parse to publish; what was done before a step gave up is not done again."""
        state: dict[str, Any] | None = _ids(ingestion)
        while True:
            try:
                done: dict[str, Any] = await self.app.ainvoke(state, THREAD)
                return done
            except ActivityError as error:
                failure = failure_of(error)
                if cancelled(error) or failure.final or not await self._retried(ingestion, failure):
                    raise
                state = None  # go on from the checkpoint

    async def _retried(self, ingestion: Ingestion, failure: Failure) -> bool:
        """Park until somebody decides. False: give up, because somebody said so or nobody said anything."""
        self.decision = None  # a signal from before counted for nothing
        self._mark(failure)
        await report(ingestion.tenant, ingestion.account, State.PARKED, failure)
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self.decision is not None, timeout=PARKED_FOR, timeout_summary="parked"
            )
        if self.decision != "retry":
            return False
        self._mark(None)
        await report(ingestion.tenant, ingestion.account, State.RUNNING)
        return True

    def _mark(self, failure: Failure | None) -> None:
        """Say in the list of workflows, and to who opens this one, where it stands."""
        parked = failure is not None
        workflow.upsert_search_attributes(
            [
                STATE.value_set(State.PARKED if parked else GOING),
                STEP.value_set(failure.step or "") if failure else STEP.value_unset(),
                ERROR.value_set(failure.code) if failure else ERROR.value_unset(),
                SINCE.value_set(workflow.now()) if parked else SINCE.value_unset(),
            ]
        )
        workflow.set_current_details(_details(failure) if failure else "")

    async def _discard(self, ingestion: Ingestion, *, derived: bool) -> None:
        """Take away what a run leaves behind; twice, since a step may still have been writing when it was stopped."""
        leftovers = Discard(ingestion.tenant, ingestion.account, ingestion.document, ingestion.version, derived)
        for pause in (LAST_WRITES, None):
            with suppress(ActivityError):  # the hourly reconcile finds what is left
                await workflow.execute_activity_method(DocumentActivities.discard, leftovers, **DISCARD)
            if pause:
                await workflow.sleep(pause)


def _details(failure: Failure) -> str:
    return (
        f"**Parked** at `{failure.step}`: `{failure.code}`.\n\n"
        "Signal `retry` to run this step again, `abort` to give up; or POST to the run's `/replay` or `/abort`."
    )


def _ids(ingestion: Ingestion) -> dict[str, Any]:
    return {
        "tenant": ingestion.tenant,
        "account": ingestion.account,
        "document": ingestion.document,
        "version": ingestion.version,
    }
