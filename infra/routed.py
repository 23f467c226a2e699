"""Several answerers as one: each question goes to the model that it names."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

from domain.chat import Completion, Line, Prompt
from domain.errors import UnknownModel
from domain.ports import Answerer


class RoutedAnswerer:
    """Answerer. The first is the default; each of them knows its own model by another name."""

    billable = True
    talks = True

    def __init__(self, answerers: Mapping[str, Answerer]) -> None:
        self.models = tuple(answerers)
        self._answerers = answerers

    def answer(self, prompt: Prompt) -> AsyncIterator[str | Completion]:
        return self._chosen(prompt.model).answer(replace(prompt, model=None))

    async def condense(
        self, question: str, history: Sequence[Line], model: str | None, *, summary: str = ""
    ) -> Completion | None:
        return await self._chosen(model).condense(question, history, None, summary=summary)

    async def summarize(self, summary: str, lines: Sequence[Line], model: str | None) -> Completion | None:
        return await self._chosen(model).summarize(summary, lines, None)

    def _chosen(self, asked: str | None) -> Answerer:
        """Raises UnknownModel."""
        name = asked or self.models[0]
        if name not in self._answerers:
            raise UnknownModel
        return self._answerers[name]
