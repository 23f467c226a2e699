"""How the scripted provider behaves while nothing is wrong."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.provider import words
from tests.provider.script import Ask


def obedient(ask: Ask) -> str:
    return words.obedient(ask.messages)


@dataclass(slots=True)
class Manners:
    """May be changed at any time, for the calls that come after. Times are seconds."""

    latency: float = 0.0  # before the first byte of every reply
    pace: float = 0.0  # before each token of a stream
    dimensions: int = 384  # of vectors, unless the request asks for others
    answer: Callable[[Ask], str] = obedient
    api_key: str | None = None  # the only key that is let in
    numbered: bool = False  # the model that answers has the call's number in its name: a ledger's line says which call
    models: tuple[str, ...] = ("gpt-4o-mini", "text-embedding-3-small")
