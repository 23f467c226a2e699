"""How much of a prompt a model can take: counted before it is sent, never hoped for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from domain.chat import Prompt, Speaker
from domain.errors import ContextTooLong

CONTEXT_TOKENS = 8192  # of a model that nobody told us more of
PART_TOKENS = 16  # around each message and passage: role, number, marker and the template's own
TRIMMED = "context_trimmed"  # flag of an answer that was not given all that was found or said


@dataclass(frozen=True, slots=True)
class Sizes:
    """Upper bounds of a prompt's tokens: `history` oldest first and `passages` best first, as the prompt has them;
    `rest` is what cannot be left out, instructions and question.
    """

    rest: int
    history: Sequence[int]
    passages: Sequence[int]


def fitted(prompt: Prompt, sizes: Sizes, context: int) -> Prompt:
    """What of the prompt fits together with `max_tokens`: the oldest messages go first, then the weakest passages.

    Those that stay keep their order, and so their numbers. Raises ContextTooLong when the question does not fit, or
    not one of the passages it is to be answered from.
    """
    room = context - prompt.max_tokens - sizes.rest
    passages = fitting(sizes.passages, room)
    if room < 0 or (prompt.passages and not passages):
        raise ContextTooLong
    said = fitting(reversed(sizes.history), room - sum(sizes.passages[:passages]))
    return _with(prompt, said, passages)


def halved(prompt: Prompt) -> Prompt:
    """The newer half of the history and the better half of the passages, for a model that counts more than we do.

    Raises ContextTooLong when there is nothing left to leave out.
    """
    smaller = _with(prompt, len(prompt.history) // 2, (len(prompt.passages) + 1) // 2)
    if smaller == prompt:
        raise ContextTooLong
    return smaller


def trimmed(whole: Prompt, sent: Prompt) -> bool:
    return (len(sent.history), len(sent.passages)) != (len(whole.history), len(whole.passages))


def _with(prompt: Prompt, said: int, passages: int) -> Prompt:
    """The best so many passages, and the newest so many messages from a question on: some models want that first."""
    history = prompt.history[len(prompt.history) - said :]
    begin = next((at for at, line in enumerate(history) if line.speaker is Speaker.USER), len(history))
    return replace(prompt, history=history[begin:], passages=prompt.passages[:passages])


def fitting(sizes: Iterable[int], room: int) -> int:
    """How many, from the first on, fit together."""
    many = 0
    for size in sizes:
        room -= size
        if room < 0:
            break
        many += 1
    return many
