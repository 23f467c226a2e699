"""Text as it comes out of a file to text that is safe to store, show and hand to a model."""

import re

from domain.characters import INVISIBLE, normalized

LINE_ENDS = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
SURROGATES = re.compile("[\ud800-\udfff]")
CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")
INVISIBLE_CHARACTERS = "invisible_characters"


def scrub(text: str) -> tuple[str, tuple[str, ...]]:
    """(NFC text without control and invisible characters, line ends as LF; warnings)."""
    text = CONTROLS.sub("", SURROGATES.sub("\ufffd", LINE_ENDS.sub("\n", text)))
    visible = INVISIBLE.sub("", text)
    warnings = (INVISIBLE_CHARACTERS,) if len(visible) < len(text) else ()
    return normalized("NFC", visible), warnings
