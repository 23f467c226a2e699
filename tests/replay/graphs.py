"""Replaying needs the graphs' shapes, not their work: no activity runs."""

from typing import Any

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.langgraph import LangGraphPlugin
from temporalio.worker import Replayer, WorkflowRunner

from agents.chat import chat_graph, turn_graph
from agents.documents import documents_graph
from workflows.chat import ChatTurn
from workflows.documents import IngestDocument
from workflows.reconcile import Reconcile
from workflows.runs import ReplayRuns, Sweep
from workflows.steps import TurnSteps
from workflows.usage import RecordUsage


class Chat:
    async def recall(self, state: Any) -> Any: ...

    async def summarize(self, state: Any) -> Any: ...

    async def condense(self, state: Any) -> Any: ...

    async def retrieve(self, state: Any) -> Any: ...

    async def answer(self, state: Any) -> Any: ...


class Documents:
    async def parse(self, state: Any) -> Any: ...

    async def embed(self, state: Any) -> Any: ...

    async def index(self, state: Any) -> Any: ...

    async def publish(self, state: Any) -> Any: ...


def replayer(runner: WorkflowRunner) -> Replayer:
    """Fresh graphs each time: the plugin rewrites those it is given."""
    graphs = {
        "chat": chat_graph(Chat()),
        "turn": turn_graph(TurnSteps(Chat())),
        "documents": documents_graph(Documents()),
    }
    return Replayer(
        workflows=[ChatTurn, IngestDocument, Reconcile, RecordUsage, ReplayRuns, Sweep],
        workflow_runner=runner,
        plugins=[LangGraphPlugin(graphs=graphs)],
        data_converter=pydantic_data_converter,
    )
