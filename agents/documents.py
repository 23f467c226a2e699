"""The graph of one ingestion: parse, embed, index, publish."""

from typing import Any, Protocol

from langgraph.graph import END, START, StateGraph

from agents.options import PARSE, STORE
from agents.state import DocumentState, VersionRef

NAME = "documents"
STEPS = ("parse", "embed", "index", "publish")


class DocumentNodes(Protocol):
    """The work in the nodes. Each is safe to run twice: it writes under keys made from the version."""

    async def parse(self, state: VersionRef) -> dict[str, Any]: ...

    async def embed(self, state: VersionRef) -> dict[str, Any]: ...

    async def index(self, state: VersionRef) -> dict[str, Any]: ...

    async def publish(self, state: VersionRef) -> dict[str, Any]: ...


def documents_graph(nodes: DocumentNodes) -> StateGraph[DocumentState, None, DocumentState, DocumentState]:
    """A fresh graph per worker: the plugin rewrites the graph it is given."""
    graph = StateGraph(DocumentState)
    graph.add_node("parse", nodes.parse, metadata=dict(PARSE), input_schema=VersionRef)
    graph.add_node("embed", nodes.embed, metadata=dict(STORE), input_schema=VersionRef)
    graph.add_node("index", nodes.index, metadata=dict(STORE), input_schema=VersionRef)
    graph.add_node("publish", nodes.publish, metadata=dict(STORE), input_schema=VersionRef)
    graph.add_edge(START, "parse")
    graph.add_edge("parse", "embed")
    graph.add_edge("embed", "index")
    graph.add_edge("index", "publish")
    graph.add_edge("publish", END)
    return graph
