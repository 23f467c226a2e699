"""One turn of a conversation: run the graph, report how it ended when it did not, start the metering."""

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from domain.runs import Question, State

from workflows.failures import cancelled, failure_of
from workflows.graphs import durable_graph
from workflows.reports import report
from workflows.usage import meter

RESULT = ("history", "flags", "passages", "finish", "prompt_tokens", "completion_tokens")


@workflow.defn(failure_exception_types=[Exception])
class ChatTurn:
    @workflow.init
    def __init__(self, question: Question) -> None:
        self.app = durable_graph(question.graph).compile()

    @workflow.run
    async def run(self, question: Question) -> dict[str, Any]:
        """Counts and codes; the words are in the turn's row."""
        try:
            state = await self.app.ainvoke(_ids(question))
        except (ActivityError, asyncio.CancelledError) as error:
            if cancelled(error):
                await report(question.tenant, question.account, State.CANCELLED)
                await meter(question.tenant, question.account)
                raise
            failure = failure_of(error)
            await report(question.tenant, question.account, State.FAILED, failure)
            await meter(question.tenant, question.account)
            raise failure.error() from None
        await meter(question.tenant, question.account)
        return {key: state[key] for key in RESULT if key in state}


def _ids(question: Question) -> dict[str, Any]:
    return {
        "tenant": question.tenant,
        "account": question.account,
        "conversation": question.conversation,
        "seq": question.seq,
    }
