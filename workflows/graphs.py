"""The only caller of the plugin's graph(): every node call is a real one."""

from typing import Any

from langgraph.graph import StateGraph
from temporalio.langgraph import graph


class NoMemo(dict[str, Any]):
    """A result cache that never remembers.

    The plugin's own is keyed by function and arguments, not by run, and lives in a context variable that
    outlives a run on its thread: with it, calls are skipped depending on what the worker ran before, which
    differs on replay.
    """

    def __bool__(self) -> bool:
        return True  # an empty dict would be replaced by a real one

    def __contains__(self, key: object) -> bool:
        return False

    def __setitem__(self, key: str, value: Any) -> None:
        pass


def durable_graph(name: str) -> StateGraph[Any, Any, Any, Any]:
    """The registered graph, to be compiled by the workflow that runs it."""
    return graph(name, cache=NoMemo())
