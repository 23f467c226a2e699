"""Which passwords may be chosen: long ones that are not the first to be guessed (NIST SP 800-63B-4)."""

import string
import unicodedata
from collections.abc import Collection, Set

PRODUCT = "moorage"
LONGEST = 128  # code points
BESIDES_NAMES = 8  # letters and digits that must remain without the names
ROWS = ("0123456789", string.ascii_lowercase, "qwertyuiopasdfghjklzxcvbnm", "qwertzuiopasdfghjklyxcvbnm")
DECORATION = string.digits + string.punctuation + string.whitespace


def normal(password: str) -> str:
    """The one form in which a password is measured and hashed, however a keyboard composes its characters."""
    return unicodedata.normalize("NFC", password)


def weakness(password: str, *, names: Collection[str], common: Set[str], shortest: int) -> str | None:
    """Why it must not be chosen, None when it may; without quoting it. `common` is in lower case."""
    found = normal(password)
    folded = found.casefold()
    if len(found) < shortest:
        return f"Use at least {shortest} characters; a few words in a row are easy to remember."
    if len(found) > LONGEST:
        return f"Use at most {LONGEST} characters."
    if folded in common or folded.strip(DECORATION) in common:
        return "This is one of the most common passwords; choose one that nobody else has."
    if _repeats(folded) or _runs(folded):
        return "It repeats itself or follows the keyboard; choose something less regular."
    if _besides(folded, names) < BESIDES_NAMES:
        return "It is made of your username, your e-mail address or the name of this product; choose other words."
    return None


def _repeats(word: str) -> bool:
    """A piece of up to half its length, over and over; the last one may be cut."""
    return any(word[size:] == word[:-size] for size in range(1, len(word) // 2 + 1))


def _runs(word: str) -> bool:
    return any(word in row * (len(word) // len(row) + 2) for line in ROWS for row in (line, line[::-1]))


def _besides(word: str, names: Collection[str]) -> int:
    parts = {part.casefold() for name in (*names, PRODUCT) for part in (name, *name.split("@")) if len(part) > 2}
    for part in sorted(parts, key=len, reverse=True):
        word = word.replace(part, "")
    return sum(character.isalnum() for character in word)
