"""What a turn sees of the conversation before it: the newest messages word for word, and a summary of the rest.

    1  2  3  4  5  6  7  8  9 10 11     turn 12 sees the window, 7 to 11, and the summary
    until: .........................9   of the turns up to 9: it is made again when the window has moved past it

Tokens are upper bounds of a provider's. A message longer than half the window is cut, so the newest turn always fits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from domain.chat import Line, Speaker
from domain.context import fitting

TURNS = 5  # that a window holds at most: 10 messages
READ = 20  # turns that are kept at hand; of more without a summary, the oldest are not looked at again
HISTORY_TOKENS = 2_000
SUMMARY_TOKENS = 600
CUT = " […]"  # where the end of a message was taken off


@dataclass(frozen=True, slots=True)
class Exchange:
    """An answered turn as later ones see it."""

    seq: int
    question: str
    question_tokens: int
    answer: str
    answer_tokens: int

    @property
    def tokens(self) -> int:
        return self.question_tokens + self.answer_tokens

    @property
    def lines(self) -> tuple[Line, Line]:
        return Line(Speaker.USER, self.question), Line(Speaker.ASSISTANT, self.answer)


@dataclass(frozen=True, slots=True)
class Past:
    """Of a conversation, before a turn. `summary` covers the turns up to `until`; exchanges are oldest first."""

    summary: str = ""
    until: int = 0
    exchanges: tuple[Exchange, ...] = ()

    def window(self, tokens: int) -> tuple[Line, ...]:
        """What is sent word for word, oldest first."""
        newest = self.exchanges[len(self.exchanges) - _fitting(self.exchanges, tokens) :]
        return tuple(line for exchange in newest for line in exchange.lines)

    def left_out(self, tokens: int) -> tuple[Exchange, ...]:
        """What the summary has to take up, oldest first and no more than `tokens`; nothing while window and summary
        leave no turn out.

        It takes up the older half of the window as well, so that it need not be made anew at every turn.
        """
        unsummarized = self._unsummarized()
        fits = _fitting(unsummarized, tokens)
        if fits == len(unsummarized):
            return ()
        older = unsummarized[: -max(1, fits // 2)]
        return older[: max(1, _first(older, tokens))]

    def then(self, exchange: Exchange) -> "Past":
        """The past of the turn after this one."""
        return replace(self, exchanges=(*self.exchanges, exchange)).trimmed()

    def trimmed(self) -> "Past":
        """Without what neither a window nor a summary can need any more."""
        needed = max(TURNS, len(self._unsummarized()))
        return replace(self, exchanges=self.exchanges[-min(needed, READ) :])

    def _unsummarized(self) -> tuple[Exchange, ...]:
        return tuple(exchange for exchange in self.exchanges if exchange.seq > self.until)


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier turn when a new one is admitted. One that is open may be answered at any length, or fail."""

    seq: int
    question_tokens: int
    answer_tokens: int
    is_open: bool


@dataclass(frozen=True, slots=True)
class Sizes:
    """Upper bounds of what a turn's prompts will hold of the conversation, in tokens.

    `summarized` is what the call for a summary reads beside the summary so far; 0: none is made.
    """

    window: int = 0
    summary: int = 0
    summarized: int = 0


def foreseen(earlier: Sequence[Earlier], until: int, tokens: int) -> Sizes:
    """`earlier` are the newest TURNS + 1, newest first; `until` where the summary stands."""
    sizes = [_size(turn, longest_message(tokens)) for turn in earlier]
    window = min(tokens, sum(sizes[:TURNS]))
    if len(earlier) > TURNS and any(turn.is_open for turn in earlier):
        window = tokens  # if it fails, an older one takes its place
    unsummarized = [size for turn, size in zip(earlier, sizes, strict=True) if turn.seq > until]
    summarized = tokens if len(unsummarized) > TURNS or sum(unsummarized) > tokens else 0
    return Sizes(window, SUMMARY_TOKENS if until or summarized else 0, summarized)


def longest_message(tokens: int) -> int:
    """Of a message in a window of so many tokens."""
    return tokens // 2


def _size(turn: Earlier, longest: int) -> int:
    return min(turn.question_tokens, longest) + (longest if turn.is_open else min(turn.answer_tokens, longest))


def _fitting(exchanges: Sequence[Exchange], tokens: int) -> int:
    """How many of the newest."""
    return _first(exchanges[::-1][:TURNS], tokens)


def _first(exchanges: Sequence[Exchange], tokens: int) -> int:
    return fitting((exchange.tokens for exchange in exchanges), tokens)
