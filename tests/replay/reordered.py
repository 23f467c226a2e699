"""Replay a golden chat with a graph that begins with another step, and print what the replayer says of it.

A process of its own, ended without ceremony: after a failed replay of a LangGraph workflow the replayer of
temporalio 1.35 does not come back from its shutdown.
"""

import asyncio
import os
import sys
from pathlib import Path

from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.langgraph import LangGraphPlugin
from temporalio.worker import Replayer

from agents.chat import chat_graph
from tests.replay.graphs import Chat
from workflows.chat import ChatTurn
from workflows.worker import RUNNER


async def main(path: Path, workflow_id: str) -> None:
    graph = chat_graph(Chat())
    graph.edges.remove(("__start__", "recall"))
    graph.add_edge("__start__", "retrieve")
    changed = Replayer(
        workflows=[ChatTurn],
        workflow_runner=RUNNER,
        plugins=[LangGraphPlugin(graphs={"chat": graph})],
        data_converter=pydantic_data_converter,
    )
    async with changed.workflow_replay_iterator(one(path, workflow_id)) as results:
        result = await anext(results)
        print(type(result.replay_failure).__name__, flush=True)
        os._exit(0)


async def one(path: Path, workflow_id: str):
    yield WorkflowHistory.from_json(workflow_id, path.read_text())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
