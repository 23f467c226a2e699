"""What leaves of what a model says: visible, in plain words, cited rightly, without our rules, and inert.

A model is an untrusted user, and obeys documents. What is told piece by piece, joined, is what is stored. The quotes
of sources do not come this way: they are data, equal to the document's text at their offsets, and never rendered.
"""

from domain.citations import DROPPED_MARKER, Markers
from domain.disclosure import Disclosure
from domain.inert import Inert
from domain.markup import Markup
from domain.visible import Visible

FILTERED_OUTPUT = "filtered_output"
PROMPT_LEAK = "prompt_leak"


class Output:
    """Feed it pieces, then take the rest. `rules` and `code`: what a model was told about its task, if one was."""

    def __init__(self, passages: int, *, rules: str = "", code: str = "") -> None:
        # Each may bring together what the one before it has to see; the last one takes nothing away.
        self._visible, self._markup, self._markers = Visible(), Markup(), Markers(passages)
        self._disclosure, self._inert = Disclosure(rules, code), Inert()

    def feed(self, piece: str) -> str:
        for part in self._parts:
            piece = part.feed(piece) if piece else ""
        return piece

    def rest(self) -> str:
        piece = ""
        for part in self._parts:
            piece = part.feed(piece) + part.rest()
        return piece

    @property
    def flags(self) -> tuple[str, ...]:
        """What was done so far."""
        filtered = self._visible.changed or self._markup.changed or self._inert.changed
        told = {
            FILTERED_OUTPUT: filtered,
            PROMPT_LEAK: self._disclosure.changed,
            DROPPED_MARKER: self._markers.changed,
        }
        return tuple(flag for flag, done in told.items() if done)

    @property
    def _parts(self) -> tuple[Visible | Markup | Markers | Disclosure | Inert, ...]:
        return self._visible, self._markup, self._markers, self._disclosure, self._inert


def tame(text: str) -> tuple[str, tuple[str, ...]]:
    """A text that is no answer and cites nothing; what was done to it."""
    output = Output(0)
    return (output.feed(text) + output.rest()).strip(), output.flags


def one_line(text: str, longest: int) -> tuple[str, tuple[str, ...]]:
    """The same on one line of at most so many characters."""
    kept, flags = tame(text)
    kept = " ".join(kept.split())
    return kept[:longest], flags if len(kept) <= longest else tuple(dict.fromkeys([*flags, FILTERED_OUTPUT]))
