"""What may be believed of a reply: clean text, and a usage that can be true."""

from collections.abc import Sequence
from typing import Any, TypeGuard

from agents.prompts import Message
from domain.chat import Finish
from domain.errors import ProviderRefused, ProviderUnavailable
from domain.ports import Tokenizer
from domain.usage import cautious

UNSEEN = 4096  # tokens a provider may add that we do not see: chat templates, its own instructions, reasoning
LONGEST_NAME = 128
REPLACEMENT = "\ufffd"

_ESCAPES = dict.fromkeys((0x1B, 0x9B), "")
_SCRUB = {code: "" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n\x1b\x9b"}
_SCRUB |= dict.fromkeys(range(0xD800, 0xE000), REPLACEMENT)


def scrub(text: str) -> str:
    """Lone surrogates become U+FFFD, control characters except tab, newline and escape vanish.

    Escape begins terminal sequences, which come in pieces: `domain/visible.py` takes them out of all of them together.
    """
    return text if text.isascii() and text.isprintable() else text.translate(_SCRUB)


def finish_of(reason: str) -> Finish:
    """What ended a reply. Raises ProviderRefused (a content filter did), ProviderUnavailable (a fault did)."""
    if reason == "content_filter":
        raise ProviderRefused("content_filter: the model provider stopped the answer.")
    if reason == "error":
        raise ProviderUnavailable("error: the model provider broke off the answer.")
    return Finish.LENGTH if reason in ("length", "max_tokens") else Finish.STOP


def name_of(model: object, asked: str) -> str:
    """The model that really answered, as far as the provider says so."""
    return scrub(model).translate(_ESCAPES)[:LONGEST_NAME] if isinstance(model, str) and model else asked


def believable(
    usage: dict[str, Any] | None, *, prompt: Sequence[Message], text: str, max_tokens: int
) -> tuple[int, int] | None:
    """(prompt tokens, completion tokens) when both are positive and no more than bytes plus what a provider adds."""
    told = usage or {}
    read, written = told.get("input_tokens"), told.get("output_tokens")
    sent = sum(_bytes(message["content"]) for message in prompt)
    if _within(read, sent + UNSEEN) and _within(written, max(max_tokens, _bytes(text)) + UNSEEN):
        return read, written
    return None


async def estimate(tokenizer: Tokenizer, prompt: Sequence[Message], text: str) -> tuple[int, int]:
    """(prompt tokens, completion tokens), rather too many than too few."""
    *read, written = await tokenizer.counts([*(message["content"] for message in prompt), text])
    return cautious(sum(read)), cautious(written)


def _within(tokens: object, most: int) -> TypeGuard[int]:
    return isinstance(tokens, int) and 0 < tokens <= most


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
