"""Text without what nobody sees: terminal sequences, control characters, zero widths and direction marks."""

import re

from domain.characters import CONTROLS, INVISIBLE
from domain.sieve import Sieve

LONGEST = 256  # characters of a terminal sequence; a longer one is taken for text, without its control characters

_PARAMETERS = f"[0-?]{{0,{LONGEST}}}[ -/]{{0,8}}"
SEQUENCE = re.compile(
    rf"(?:\x1b\[|\x9b){_PARAMETERS}[@-~]"  # colours and cursor
    rf"|\x1b\][^\x07\x1b]{{0,{LONGEST}}}(?:\x07|\x1b\\)"  # links and window titles
    r"|\x1b[@-Z\\^_`a-z]"
)
UNFINISHED = re.compile(rf"(?:(?:\x1b\[|\x9b){_PARAMETERS}|\x1b\][^\x07\x1b]{{0,{LONGEST}}}\x1b?|\x1b)$")


class Visible(Sieve):
    """Tab and newline stay."""

    def _sift(self, text: str, *, last: bool) -> tuple[str, int]:
        if text.isascii() and text.isprintable():
            return text, len(text)
        unfinished = None if last else UNFINISHED.search(text)
        end = unfinished.start() if unfinished else len(text)
        return INVISIBLE.sub("", CONTROLS.sub("", SEQUENCE.sub("", text[:end]))), end
