"""Unicode normalisation in time linear in the text, whatever the text is."""

import re
import unicodedata
from typing import Literal

# Putting n combining marks on one letter into order takes n * n steps: half a second for the longest question.
# Nothing composes across white space, and no word has this many letters.
STRETCHES = re.compile(r"\S{1,512}|\s+")


def normalized(form: Literal["NFC", "NFKC"], text: str) -> str:
    if unicodedata.is_normalized(form, text):
        return text
    return "".join(unicodedata.normalize(form, stretch) for stretch in STRETCHES.findall(text))
