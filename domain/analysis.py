"""Words to search terms, the same for documents and queries: English stems, Hangul and Han in bigrams."""

import re
import threading

import Stemmer

from domain.characters import normalized

VERSION = 1  # raise it when the same text gives other terms: an index made before is then of another generation

WORD = re.compile(r"[^\W_]+")
CJK = re.compile("[가-힣一-龥ぁ-ヶ]")
HANGUL = re.compile("[가-힣ㄱ-ㅣ]")

# Lucene's English list, which Weaviate's `en` preset repeats.
STOP = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with".split()
)

_local = threading.local()  # a Stemmer is not safe to share between threads


def terms(text: str) -> list[str]:
    """Terms in order of appearance, repeats kept; empty for text without letters or digits."""
    found: list[str] = []
    for word in WORD.findall(normalized("NFKC", text).lower()):
        if CJK.search(word):
            found += [word[at : at + 2] for at in range(len(word) - 1)] or [word]
        elif word not in STOP:
            found.append(_stem(word))
    return found


def words(text: str) -> str:
    """Equal for texts that differ in case, blanks and punctuation only; a `not` makes a difference."""
    return " ".join(WORD.findall(normalized("NFKC", text).lower())) or text


def _stem(word: str) -> str:
    if not hasattr(_local, "stemmer"):
        _local.stemmer = Stemmer.Stemmer("english")
    stem: str = _local.stemmer.stemWord(word)
    return stem
