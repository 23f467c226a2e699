"""Short steps are done where the workflow is; one that does not succeed at once becomes an activity with patience."""

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from agents.chat import ChatNodes
    from agents.options import QUICK, RECALL, RETRIEVE
    from agents.state import TurnRef


class TurnSteps:
    """The nodes of the graph `turn`."""

    def __init__(self, nodes: ChatNodes) -> None:
        self.summarize = nodes.summarize
        self.condense = nodes.condense
        self.answer = nodes.answer

    async def recall(self, state: TurnRef) -> dict[str, Any]:
        return dict(await local_first("turn.recall", state, RECALL))

    async def retrieve(self, state: TurnRef) -> dict[str, Any]:
        return dict(await local_first("turn.retrieve", state, RETRIEVE))


async def local_first(name: str, argument: Any, options: dict[str, Any]) -> Any:
    """The activity of this name; `options` are those of its patient version. Raises ActivityError, as that one does."""
    try:
        return await workflow.execute_local_activity(name, argument, **QUICK)
    except FailureError as error:  # a local activity's comes as it is, in no ActivityError
        if is_cancelled_exception(error):
            raise asyncio.CancelledError from error
    patient = {option: value for option, value in options.items() if option != "execute_in"}
    return await workflow.execute_activity(name, argument, **patient)
