"""Answers that repeat what a model was told about its task instead of doing it.

An ellipsis takes the place of words that hold the code of the request, and of runs of more than 60 characters of the
rules, whole word for whole word, whatever signs stand between them. What is translated, encoded, spelled letter by
letter or told in other words passes: the rules hold no secret, and what is lost then is their wording.
"""

import re
from collections import defaultdict

LONGEST = 60  # characters that an answer may share with the rules, with one space between words
CUT = "…"  # so that what stood on either side does not come together
APART = 200  # signs: words so far from each other are no run

TOKEN = re.compile(r"(?P<word>[a-z0-9]{1,64})|(?P<foreign>[^\W\x00-\x7f]+)|(?:_|[^\w])+", re.IGNORECASE)


class Disclosure:
    """Feed it pieces, then take the rest; it holds back what may yet become such a run. Without rules nothing is."""

    def __init__(self, rules: str, code: str) -> None:
        self.changed = False
        self._code = code.casefold()
        self._places: dict[str, list[int]] = defaultdict(list)  # in the rules, of each word
        for place, found in enumerate(re.findall(r"[a-z0-9]+", rules.casefold())):
            self._places[found].append(place)
        self._word = ""  # may go on
        self._said_before = ""  # the end of a word of more than 64 characters, which may hold half of the code
        self._runs: dict[int, tuple[int, int]] = {}  # place of a run's last word -> its characters and its words
        self._waiting: list[str] = []  # words of the longest run, each with the signs behind it
        self._dropping = False
        self._signs = ""  # behind what was dropped: between two dropped words they go too

    def feed(self, piece: str) -> str:
        if not self._places:
            return piece
        found = list(TOKEN.finditer(self._word + piece))
        self._word = found.pop()[0] if found and found[-1]["word"] else ""
        return "".join(self._taken(token) for token in found)

    def rest(self) -> str:
        word, self._word = self._word, ""
        kept = [self._taken(token) for token in TOKEN.finditer(word)]
        return "".join([*kept, self._released(0)])

    def _taken(self, token: re.Match[str]) -> str:
        """What is certain by now."""
        if token["word"]:
            return self._said(token[0])
        self._said_before = ""
        if token["foreign"]:
            self._runs, self._dropping = {}, False
            return self._released(0) + token[0]
        if not self._dropping:
            return self._between(token[0])
        self._signs += token[0]
        if len(self._signs) <= APART:
            return ""
        self._runs, self._dropping = {}, False
        return self._released(0)

    def _said(self, word: str) -> str:
        known, before = word.casefold(), self._runs
        self._runs = {}
        for place in self._places.get(known, ()):
            characters, words = before.get(place - 1, (0, 0))
            self._runs[place] = (characters + len(known) + 1, words + 1)
        characters, words = max(self._runs.values(), default=(0, 0))
        whole = self._said_before + known
        self._said_before = whole[1 - len(self._code) :] if len(self._code) > 1 else ""
        told = bool(self._code) and self._code in whole
        if told or characters > LONGEST + 1:
            return self._dropped(words - 1)
        self._dropping = False
        self._waiting.append(word)
        return self._released(words)

    def _dropped(self, waiting: int) -> str:
        """So many words that wait, and the one that did not have to."""
        kept = "" if self._dropping else self._released(waiting) + CUT
        self.changed = self._dropping = True
        self._waiting, self._signs = [], ""
        return kept

    def _between(self, signs: str) -> str:
        if not self._waiting:
            return signs
        self._waiting[-1] += signs
        if len(self._waiting[-1]) <= APART:
            return ""
        self._runs = {}
        return self._released(0)

    def _released(self, waiting: int) -> str:
        """All but so many words, which go on waiting."""
        signs, self._signs = self._signs, ""
        going = max(len(self._waiting) - waiting, 0)
        released, self._waiting = self._waiting[:going], self._waiting[going:]
        return "".join([signs, *released])
