"""Characters that a reader sees, and Unicode normalisation in time linear in the text, whatever the text is."""

import re
import unicodedata
from typing import Literal

# Putting n combining marks on one letter into order takes n * n steps: half a second for the longest question.
# Nothing composes across white space, and no word has this many letters.
STRETCHES = re.compile(r"\S{1,512}|\s+")

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # but tab and newline; a terminal may obey them

# Soft hyphen, direction marks and overrides, zero widths, tags: a reader does not see them, a model does.
INVISIBLE = re.compile(
    "[\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\U000e0100-\U000e01ef]"
)


def normalized(form: Literal["NFC", "NFKC"], text: str) -> str:
    if unicodedata.is_normalized(form, text):
        return text
    return "".join(unicodedata.normalize(form, stretch) for stretch in STRETCHES.findall(text))
