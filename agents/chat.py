"""The graph of one turn: recall, condense when there is a history to refer to, retrieve, answer."""

from typing import Any, Protocol

from langgraph.graph import END, START, StateGraph

from agents.options import ANSWER, CONDENSE, RECALL, RETRIEVE
from agents.state import ChatState, TurnRef

NAME = "chat"


class ChatNodes(Protocol):
    """The work in the nodes. Each reads and writes the turn's row and returns counts."""

    async def recall(self, state: TurnRef) -> dict[str, Any]: ...

    async def condense(self, state: TurnRef) -> dict[str, Any]: ...

    async def retrieve(self, state: TurnRef) -> dict[str, Any]: ...

    async def answer(self, state: TurnRef) -> dict[str, Any]: ...


async def after_recall(state: ChatState) -> str:
    """Routers are `async def`: a plain one needs a thread, which a workflow has not."""
    if not state["use_rag"]:
        return "answer"
    return "condense" if state["history"] else "retrieve"


def chat_graph(nodes: ChatNodes) -> StateGraph[ChatState, None, ChatState, ChatState]:
    """A fresh graph per worker: the plugin rewrites the graph it is given."""
    graph = StateGraph(ChatState)
    graph.add_node("recall", nodes.recall, metadata=dict(RECALL), input_schema=TurnRef)
    graph.add_node("condense", nodes.condense, metadata=dict(CONDENSE), input_schema=TurnRef)
    graph.add_node("retrieve", nodes.retrieve, metadata=dict(RETRIEVE), input_schema=TurnRef)
    graph.add_node("answer", nodes.answer, metadata=dict(ANSWER), input_schema=TurnRef)
    graph.add_edge(START, "recall")
    graph.add_conditional_edges("recall", after_recall, ["condense", "retrieve", "answer"])
    graph.add_edge("condense", "retrieve")
    graph.add_edge("retrieve", "answer")
    graph.add_edge("answer", END)
    return graph
