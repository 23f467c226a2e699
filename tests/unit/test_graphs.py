"""The bare graphs: which step follows which, with ten lines of fakes for the work."""

from typing import Any

import pytest

from agents.chat import chat_graph
from agents.documents import documents_graph
from agents.options import CONDENSE, RECALL, STORE

TURN = {"tenant": "t", "account": "a", "conversation": "c", "seq": 1}
VERSION = {"tenant": "t", "account": "a", "document": "d", "version": 1}


class FakeChat:
    """Notes which steps ran."""

    def __init__(self, history: int, use_rag: bool, **recalled: int) -> None:
        self.steps: list[str] = []
        self._recalled = {"history": history, "use_rag": use_rag, **recalled}

    async def recall(self, state: Any) -> dict[str, Any]:
        return self._note("recall", self._recalled)

    async def summarize(self, state: Any) -> dict[str, Any]:
        return self._note("summarize", {"flags": []})

    async def condense(self, state: Any) -> dict[str, Any]:
        return self._note("condense", {"flags": []})

    async def retrieve(self, state: Any) -> dict[str, Any]:
        return self._note("retrieve", {"passages": 3})

    async def answer(self, state: Any) -> dict[str, Any]:
        return self._note("answer", {"finish": "stop"})

    def _note(self, step: str, update: dict[str, Any]) -> dict[str, Any]:
        self.steps.append(step)
        return update


class FakeDocuments:
    def __init__(self) -> None:
        self.steps: list[str] = []

    async def parse(self, state: Any) -> dict[str, Any]:
        return self._note("parse")

    async def embed(self, state: Any) -> dict[str, Any]:
        return self._note("embed")

    async def index(self, state: Any) -> dict[str, Any]:
        return self._note("index")

    async def publish(self, state: Any) -> dict[str, Any]:
        return self._note("publish")

    def _note(self, step: str) -> dict[str, Any]:
        self.steps.append(step)
        return {"chunks": len(self.steps)}


@pytest.mark.parametrize(
    ("history", "use_rag", "expected"),
    [
        (0, True, ["recall", "retrieve", "answer"]),
        (2, True, ["recall", "condense", "retrieve", "answer"]),
        (2, False, ["recall", "answer"]),
    ],
)
async def test_a_turn_condenses_only_what_it_searches_and_can_refer_to(
    history: int, use_rag: bool, expected: list[str]
) -> None:
    nodes = FakeChat(history, use_rag)

    await chat_graph(nodes).compile().ainvoke(TURN)

    assert expected == nodes.steps


@pytest.mark.parametrize(
    ("left_out", "use_rag", "expected"),
    [
        (4, True, ["recall", "summarize", "condense", "retrieve", "answer"]),
        (4, False, ["recall", "summarize", "answer"]),
        (0, True, ["recall", "condense", "retrieve", "answer"]),
    ],
)
async def test_a_turn_summarizes_what_its_window_leaves_out(left_out: int, use_rag: bool, expected: list[str]) -> None:
    nodes = FakeChat(10, use_rag, left_out=left_out)

    await chat_graph(nodes).compile().ainvoke(TURN)

    assert expected == nodes.steps


async def test_an_ingestion_takes_its_four_steps_in_order() -> None:
    nodes = FakeDocuments()

    state = await documents_graph(nodes).compile().ainvoke(VERSION)

    assert nodes.steps == ["parse", "embed", "index", "publish"]
    assert state["chunks"] == 4


@pytest.mark.parametrize("graph", [chat_graph(FakeChat(0, True)), documents_graph(FakeDocuments())])
def test_every_router_is_async(graph: Any) -> None:
    """A plain router needs a thread, which a workflow has not; the bare graph would not notice."""
    branches = [branch for some in graph.branches.values() for branch in some.values()]

    assert all(branch.path.func is None for branch in branches)


@pytest.mark.parametrize("graph", [chat_graph(FakeChat(0, True)), documents_graph(FakeDocuments())])
def test_every_node_runs_as_an_activity_with_a_deadline(graph: Any) -> None:
    options = [node.metadata for node in graph.nodes.values()]

    assert all(one["execute_in"] == "activity" for one in options)
    assert all(one["start_to_close_timeout"].total_seconds() > 0 for one in options)


def test_two_workers_never_share_the_options_of_a_node() -> None:
    """The plugin takes options out of the metadata of the graph it is given."""
    chat_graph(FakeChat(0, True)).nodes["recall"].metadata.clear()

    assert RECALL["execute_in"] == CONDENSE["execute_in"] == STORE["execute_in"] == "activity"
