"""A graph that calls one node three times with equal arguments: what the plugin's result cache would skip."""

from typing import Any, TypedDict

from langgraph.graph import START, StateGraph
from temporalio import workflow

from agents.options import RECALL
from workflows.graphs import durable_graph

CALLS: list[str] = []


class Loop(TypedDict, total=False):
    word: str
    again: bool


class Word(TypedDict):
    word: str


async def say(state: Word) -> dict[str, Any]:
    CALLS.append(state["word"])
    return {"again": CALLS.count(state["word"]) % 3 != 0}


async def after(state: Loop) -> str:
    return "say" if state["again"] else "__end__"


def looping_graph() -> StateGraph[Loop, None, Loop, Loop]:
    graph = StateGraph(Loop)
    graph.add_node("say", say, metadata=dict(RECALL), input_schema=Word)
    graph.add_edge(START, "say")
    graph.add_conditional_edges("say", after, ["say", "__end__"])
    return graph


@workflow.defn(failure_exception_types=[Exception])
class Looping:
    @workflow.init
    def __init__(self, word: str) -> None:
        self.app = durable_graph("loop").compile()

    @workflow.run
    async def run(self, word: str) -> bool:
        state = await self.app.ainvoke({"word": word})
        return not state["again"]
