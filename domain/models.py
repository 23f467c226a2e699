"""Language models by the names they are asked for, and who stands in for whom."""

from collections.abc import Sequence
from dataclasses import dataclass

from domain.errors import UnknownModel

EXTRACTIVE = "extractive"
FALLBACK = "fallback"  # flag of an answer that another model gave than the one that was asked


@dataclass(frozen=True, slots=True)
class Model:
    """`called` is the provider's name for it, by which ledger and prices know it.

    `context`: tokens of prompt and reply together, None where nothing is sent to anybody. `max_tokens`: of its
    longest reply. `fallback`: names of those that answer when it is not available, in order.
    """

    name: str
    called: str
    context: int | None
    max_tokens: int | None = None
    fallback: tuple[str, ...] = ()


QUOTING = Model(EXTRACTIVE, EXTRACTIVE, None)  # what answers where no language model is configured


@dataclass(frozen=True, slots=True)
class Models:
    """What can be asked for, the default first."""

    offered: Sequence[Model] = (QUOTING,)

    def named(self, name: str | None) -> Model:
        """The default without a name. Raises UnknownModel."""
        found = next((model for model in self.offered if name in (None, model.name)), None)
        if found is None:
            raise UnknownModel
        return found

    def chain(self, name: str | None) -> list[Model]:
        """The model, and then those that stand in for it. Raises UnknownModel."""
        asked = self.named(name)
        return [asked, *map(self.named, asked.fallback)]
