"""The graph of one turn: recall, summarize when the window leaves something out, condense when there is a history to
refer to, retrieve, answer.

There are two of the same shape. In `turn` the short reads are local: the worker that has the workflow does them, and
Temporal hears of them afterwards. In `chat` each step is an activity of its own; runs that were started with it end
with it.
"""

from typing import Any, Protocol

from langgraph.graph import END, START, StateGraph

from agents.options import ANSWER, CONDENSE, LOCAL, RECALL, RETRIEVE, SUMMARIZE
from agents.state import ChatState, TurnRef

NAME = "turn"
FIRST_NAME = "chat"


class ChatNodes(Protocol):
    """The work in the nodes. Each reads and writes the turn's row and returns counts."""

    async def recall(self, state: TurnRef) -> dict[str, Any]: ...

    async def summarize(self, state: TurnRef) -> dict[str, Any]: ...

    async def condense(self, state: TurnRef) -> dict[str, Any]: ...

    async def retrieve(self, state: TurnRef) -> dict[str, Any]: ...

    async def answer(self, state: TurnRef) -> dict[str, Any]: ...


async def after_recall(state: ChatState) -> str:
    """Routers are `async def`: a plain one needs a thread, which a workflow has not."""
    return "summarize" if state.get("left_out") else await after_summarize(state)


async def after_summarize(state: ChatState) -> str:
    if not state["use_rag"]:
        return "answer"
    return "condense" if state["history"] else "retrieve"


def turn_graph(nodes: ChatNodes) -> StateGraph[ChatState, None, ChatState, ChatState]:
    """`recall` and `retrieve` of these nodes are run by the workflow. A fresh graph per worker: the plugin rewrites the
    graph it is given.
    """
    return _graph(nodes, recall=LOCAL, retrieve=LOCAL)


def chat_graph(nodes: ChatNodes) -> StateGraph[ChatState, None, ChatState, ChatState]:
    """A fresh graph per worker."""
    return _graph(nodes, recall=RECALL, retrieve=RETRIEVE)


def _graph(
    nodes: ChatNodes, *, recall: dict[str, Any], retrieve: dict[str, Any]
) -> StateGraph[ChatState, None, ChatState, ChatState]:
    graph = StateGraph(ChatState)
    graph.add_node("recall", nodes.recall, metadata=dict(recall), input_schema=TurnRef)
    graph.add_node("summarize", nodes.summarize, metadata=dict(SUMMARIZE), input_schema=TurnRef)
    graph.add_node("condense", nodes.condense, metadata=dict(CONDENSE), input_schema=TurnRef)
    graph.add_node("retrieve", nodes.retrieve, metadata=dict(retrieve), input_schema=TurnRef)
    graph.add_node("answer", nodes.answer, metadata=dict(ANSWER), input_schema=TurnRef)
    graph.add_edge(START, "recall")
    graph.add_conditional_edges("recall", after_recall, ["summarize", "condense", "retrieve", "answer"])
    graph.add_conditional_edges("summarize", after_summarize, ["condense", "retrieve", "answer"])
    graph.add_edge("condense", "retrieve")
    graph.add_edge("retrieve", "answer")
    graph.add_edge("answer", END)
    return graph
