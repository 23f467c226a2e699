"""Asking one model after the other until one answers, each for no more than it can read."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import structlog

from agents import prompts
from domain.chat import Prompt
from domain.context import PART_TOKENS, Sizes, fitted, halved
from domain.errors import (
    ContextTooLong,
    MoorageError,
    ProviderAuth,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
    Temporary,
)
from domain.models import Model
from domain.ports import Tokenizer
from domain.usage import cautious

UNAVAILABLE = (ProviderUnavailable, ProviderRateLimited, ProviderAuth, ProviderMalformed)
REFUSING = (ProviderRefused, ContextTooLong)

Made = TypeVar("Made")
Ask = Callable[[Model, Prompt], Awaitable[Made]]

_log = structlog.get_logger()


async def first_available(
    models: Sequence[Model], ask: Callable[[Model], Awaitable[Made]], told: Sequence[str] = ()
) -> Made:
    """What the first of them that is available makes of it.

    When something has been told the others are not asked: the next attempt begins anew. What the first one refuses
    is refused; one that stands in and refuses is as good as not available. When none is, it is a temporary failure as
    soon as one of theirs is.
    """
    failures: list[MoorageError] = []
    for model in models:
        try:
            return await ask(model)
        except (*UNAVAILABLE, *REFUSING) as error:
            if told or (isinstance(error, REFUSING) and not failures):
                raise
            failures.append(error)
            _log.warning("model_unavailable", model=model.name, code=error.code)
    raise next((failure for failure in failures if isinstance(failure, Temporary)), failures[0])


async def within_context(
    model: Model, prompt: Prompt, tokenizer: Tokenizer, ask: Ask[Made], told: Sequence[str]
) -> Made:
    """Ask with what fits by our count; with half of that, once, when the provider counts more."""
    sent = await _fitted(model, prompt, tokenizer)
    try:
        return await ask(model, sent)
    except ContextTooLong:
        if told or model.context is None:
            raise
    return await ask(model, halved(sent))


async def _fitted(model: Model, prompt: Prompt, tokenizer: Tokenizer) -> Prompt:
    longest = min(prompt.max_tokens, model.max_tokens or prompt.max_tokens)
    whole = replace(prompt, model=model.name, max_tokens=longest)
    if model.context is None:
        return whole
    rest = [message["content"] for message in prompts.answer(replace(whole, history=(), passages=()), whole.marker)]
    said = [line.text for line in whole.history]
    found = [f"{passage.title[: prompts.LONGEST_TITLE]}\n{passage.hit.text}" for passage in whole.passages]
    counts = [cautious(tokens) + PART_TOKENS for tokens in await tokenizer.counts([*rest, *said, *found])]
    sizes = Sizes(
        rest=sum(counts[: len(rest)]),
        history=counts[len(rest) : len(rest) + len(said)],
        passages=counts[len(rest) + len(said) :],
    )
    return fitted(whole, sizes, model.context)
