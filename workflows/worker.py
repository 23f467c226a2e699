"""A worker: the workflows, graphs and activities of one task queue, run until SIGTERM."""

import asyncio
import signal
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from temporalio.client import Client
from temporalio.langgraph import LangGraphPlugin
from temporalio.runtime import Runtime
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.chat import ChatActivities, short_steps
from activities.documents import DocumentActivities
from activities.ledger import LedgerComparison
from activities.meter import Meter
from activities.passages import Reader
from activities.reconcile import ReconcileActivities
from activities.retrieval import Retriever
from activities.runs import ReplayActivities, Replayer, RunActivities, SweepActivities
from activities.usage import UsageActivities
from activities.window import Recollection
from agents import chat, documents
from agents.chat import chat_graph, turn_graph
from agents.documents import documents_graph
from domain import names
from infra import failpoints, temporal
from infra.boundary import Boundary
from infra.services import Services, open_services
from infra.settings import Settings
from infra.steps import Steps
from infra.telemetry import configure_logging
from workflows.chat import ChatTurn
from workflows.documents import IngestDocument
from workflows.reconcile import Reconcile
from workflows.runs import ReplayRuns, Sweep
from workflows.steps import TurnSteps
from workflows.usage import RecordUsage

WORKFLOWS: dict[str, Sequence[type]] = {
    names.CHAT_QUEUE: [ChatTurn, RecordUsage],
    names.DOCUMENTS_QUEUE: [IngestDocument, Reconcile, RecordUsage, ReplayRuns, Sweep],
}
GRACE = {names.CHAT_QUEUE: timedelta(seconds=10), names.DOCUMENTS_QUEUE: timedelta(seconds=60)}
STEPS_AT_ONCE = {names.CHAT_QUEUE: 50, names.DOCUMENTS_QUEUE: 16}
# A turn's first decision is 50 ms of CPU, with recall and retrieval in it, and every decision is a write that the
# server makes after the one before. If all that come began at once, all would be slow; with a few at a time the others
# wait in the queue, in order, fairly among tenants, and counted by the API. Beside another tenant's flood a question's
# p95 was 5, 6 and 14 times its own with two chat workers at 2, 3 and 4 each.
DECISIONS_AT_ONCE = {names.CHAT_QUEUE: 2, names.DOCUMENTS_QUEUE: 4}
HEARTBEAT_THROTTLE = timedelta(seconds=0.5)  # a cancel then reaches an activity in 0.2 s instead of 4
STICKY = timedelta(seconds=1)  # with the default of 10 s a killed worker costs its runs up to 15 s
# The sandbox would import the modules of this package anew for every run, and only those: LangGraph and all that they
# import is passed through. That is a fifth of a chat worker's CPU for three hundred lines, which tests/replay keeps to
# the sandbox's rules.
RUNNER = UnsandboxedWorkflowRunner()
LINGER = 0.2  # seconds; a process that ends at once was measured to crash in interpreter teardown

_log = structlog.get_logger()


def serve(settings: Settings, queue: str) -> None:
    configure_logging(settings.log_level, f"worker-{queue}")
    asyncio.run(_serve(settings, queue))


async def _serve(settings: Settings, queue: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runtime: Runtime = temporal.runtime(settings.metrics_port or None)
    client = await temporal.connect(settings, runtime=runtime)
    async with open_services(settings, client) as services:
        async with worker(client, services, queue):
            _log.info("worker_ready", queue=queue)
            await stop.wait()
    await asyncio.sleep(LINGER)


def worker(
    client: Client,
    services: Services,
    queue: str,
    task_queue: str | None = None,
    *,
    cached: int = 1000,
    workflows: Sequence[type] | None = None,
) -> Worker:
    """`task_queue` lets a test work on a queue of its own, `workflows` lets it run others than the queue's; without
    `cached` runs every step is a replay."""
    return Worker(
        client,
        task_queue=task_queue or queue,
        workflows=workflows or WORKFLOWS[queue],
        workflow_runner=RUNNER,
        activities=_activities(services, queue),
        plugins=[_graphs(services, queue)],
        interceptors=[Boundary(), Steps(services.events), *failpoints.interceptors(services.settings)],
        max_cached_workflows=cached,
        max_concurrent_activities=STEPS_AT_ONCE[queue],
        max_concurrent_workflow_tasks=DECISIONS_AT_ONCE[queue],
        graceful_shutdown_timeout=GRACE[queue],
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        sticky_queue_schedule_to_start_timeout=STICKY,
    )


def _graphs(services: Services, queue: str) -> LangGraphPlugin:
    if queue == names.CHAT_QUEUE:
        nodes = chat_activities(services)
        return LangGraphPlugin(graphs={chat.NAME: turn_graph(TurnSteps(nodes)), chat.FIRST_NAME: chat_graph(nodes)})
    return LangGraphPlugin(graphs={documents.NAME: documents_graph(document_activities(services))})


def _activities(services: Services, queue: str) -> list[Any]:
    """What runs outside graphs."""
    runs = RunActivities(services.runs, services.usage, services.events)
    activities = [runs.report, UsageActivities(services.usage).settle]
    if queue == names.CHAT_QUEUE:
        return [*activities, *short_steps(chat_activities(services))]
    sweep = SweepActivities(services.registry, services.runs, services.usage, services.events, services.engine)
    replay = ReplayActivities(services.runs, Replayer(services.runs, services.events, services.engine))
    reconcile = reconcile_activities(services)
    discard = document_activities(services).discard
    return [*activities, sweep.sweep, replay.page, discard, reconcile.tenants, reconcile.tenant]


def _meter(services: Services) -> Meter:
    return Meter(services.usage, services.tokenizer, services.prices)


def chat_activities(services: Services) -> ChatActivities:
    meter = _meter(services)
    retriever = Retriever(services.documents, services.store, services.embedder, meter)
    return ChatActivities(
        turns=services.turns,
        recollection=Recollection(
            services.turns, services.windows, services.tokenizer, services.settings.history_tokens
        ),
        retriever=retriever,
        reader=Reader(services.blobs, services.tokenizer, services.settings.passage_tokens),
        answerer=services.answerer,
        models=services.models,
        tokenizer=services.tokenizer,
        meter=meter,
        events=services.events,
    )


def document_activities(services: Services) -> DocumentActivities:
    return DocumentActivities(
        documents=services.documents,
        blobs=services.blobs,
        parser=services.parser,
        tokenizer=services.tokenizer,
        embedder=services.embedder,
        store=services.store,
        meter=_meter(services),
        events=services.events,
    )


def reconcile_activities(services: Services) -> ReconcileActivities:
    return ReconcileActivities(
        inventory=services.inventory,
        store=services.store,
        blobs=services.blobs,
        ledger=LedgerComparison(services.ledger, services.usage),
        engine=services.engine,
        index=document_activities(services).index,
        generation=services.embedder.generation,
    )
