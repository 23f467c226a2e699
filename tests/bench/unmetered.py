"""A chat turn that nobody meters, to compare the real one with: nothing reserved, written down or settled."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain import names
    from domain.accounts import Principal
    from domain.chat import Answer, Completion, Line, Prompt, Turn
    from domain.ports import Answerer, TurnRecords
    from domain.runs import Question
    from domain.usage import ProviderCall
    from infra.services import Services
    from workflows.chat import RESULT
    from workflows.graphs import durable_graph
    from workflows.worker import WORKFLOWS


@workflow.defn(name="ChatTurn", failure_exception_types=[Exception])
class UnmeteredTurn:
    """The real one's way to an answer; a turn that fails ends the benchmark."""

    @workflow.init
    def __init__(self, question: Question) -> None:
        self.app = durable_graph(question.graph).compile()

    @workflow.run
    async def run(self, question: Question) -> dict[str, Any]:
        ids = {"tenant": question.tenant, "account": question.account}
        state = await self.app.ainvoke({**ids, "conversation": question.conversation, "seq": question.seq})
        return {key: state[key] for key in RESULT if key in state}


UNMETERED_WORKFLOWS = {**WORKFLOWS, names.CHAT_QUEUE: [UnmeteredTurn]}


def unmetered(services: Services) -> Services:
    return replace(services, answerer=Free(services.answerer), turns=Unlisted(services.turns))


class Free:
    """Answerer. The same one, for nothing."""

    billable = False

    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer
        self.models = answerer.models
        self.talks = answerer.talks

    def answer(self, prompt: Prompt) -> AsyncIterator[str | Completion]:
        return self._answerer.answer(prompt)

    async def condense(
        self, question: str, history: Sequence[Line], model: str | None, *, summary: str = ""
    ) -> Completion | None:
        return await self._answerer.condense(question, history, model, summary=summary)

    async def summarize(self, summary: str, lines: Sequence[Line], model: str | None) -> Completion | None:
        return await self._answerer.summarize(summary, lines, model)


class Unlisted:
    """TurnRecords. The same ones, but no call of a model is kept with an answer."""

    def __init__(self, turns: TurnRecords) -> None:
        self._turns = turns

    def __getattr__(self, name: str) -> Any:
        return getattr(self._turns, name)

    async def commit_answer(
        self, principal: Principal, turn: Turn, answer: Answer, calls: Sequence[ProviderCall], **told: Any
    ) -> Turn:
        return await self._turns.commit_answer(principal, turn, answer, (), **told)
