"""Text as it comes out of a file to text that is safe to store, show and hand to a model."""

import re

from domain.characters import normalized

LINE_ENDS = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
SURROGATES = re.compile("[\ud800-\udfff]")
CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")
# Soft hyphen, direction marks and overrides, zero widths, tags: a reader does not see them, a model does.
INVISIBLE = re.compile(
    "[\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\U000e0100-\U000e01ef]"
)
INVISIBLE_CHARACTERS = "invisible_characters"


def scrub(text: str) -> tuple[str, tuple[str, ...]]:
    """(NFC text without control and invisible characters, line ends as LF; warnings)."""
    text = CONTROLS.sub("", SURROGATES.sub("\ufffd", LINE_ENDS.sub("\n", text)))
    visible = INVISIBLE.sub("", text)
    warnings = (INVISIBLE_CHARACTERS,) if len(visible) < len(text) else ()
    return normalized("NFC", visible), warnings
