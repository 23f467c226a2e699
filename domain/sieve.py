"""Text that is changed while it comes, the same whatever pieces it comes in."""

from abc import ABC, abstractmethod


class Sieve(ABC):
    """Feed it pieces, then take the rest: what it returned, joined, depends on the whole text alone.

    A subclass decides about the beginning of what it holds, and only once no further text could change the decision;
    it says how far it came. `changed` tells that anything was.
    """

    def __init__(self) -> None:
        self.changed = False
        self._held = ""

    def feed(self, piece: str) -> str:
        return self._passed(self._held + piece, last=False)

    def rest(self) -> str:
        return self._passed(self._held, last=True)

    def _passed(self, text: str, *, last: bool) -> str:
        kept, end = self._sift(text, last=last)
        self.changed = self.changed or kept != text[:end]
        self._held = text[end:]
        return kept

    @abstractmethod
    def _sift(self, text: str, *, last: bool) -> tuple[str, int]:
        """(what becomes of the beginning of `text`, how long that beginning is); all of it when it is the last."""
