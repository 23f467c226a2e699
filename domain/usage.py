"""Tokens: what was bought, what is promised, what is left."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum


class Purpose(StrEnum):
    CHAT = "chat"
    CONDENSE = "condense"
    SUMMARY = "summary"
    EMBEDDING = "embedding"


COUNTED = (Purpose.CHAT, Purpose.CONDENSE, Purpose.SUMMARY)  # what a token_limit is about


class Delivery(StrEnum):
    """What became of a call; the API's `outcome`."""

    OPEN = "open"  # being made: no line yet, and a trace of it should its worker die
    DELIVERED = "delivered"
    ESTIMATED = "estimated"  # the provider did not say, or was not let finish
    RETRIED = "retried"  # bought, and nobody got anything for it: listed, never counted


BILLED = (Delivery.DELIVERED, Delivery.ESTIMATED)


@dataclass(frozen=True, slots=True)
class ProviderCall:
    """One call of a model, written down before it is made and again when its reply is there.

    `op_id` names the attempt and is unique. `cost` is in billionths of the price list's currency, None without a
    price.
    """

    op_id: str
    workflow_id: str | None
    purpose: Purpose
    model: str
    prompt_tokens: int
    completion_tokens: int
    delivery: Delivery
    billable: bool
    at: datetime
    cost: int | None = None


@dataclass(frozen=True, slots=True)
class PurposeTotal:
    """Calls that were delivered or estimated. `cost` sums the priced ones; `unpriced` are billable and have none."""

    purpose: Purpose
    model: str
    tokens: int
    calls: int
    billable: bool
    cost: int | None = None
    unpriced: int = 0


@dataclass(frozen=True, slots=True)
class Month:
    """An account's month: `used + reserved <= limit` held when each reservation was made."""

    account_id: str
    month: str
    used: int
    reserved: int
    limit: int
    totals: tuple[PurposeTotal, ...]


def month_of(moment: datetime) -> str:
    """`YYYY-MM` in UTC, the only calendar of the ledger."""
    return moment.astimezone(UTC).strftime("%Y-%m")


def next_month(moment: datetime) -> datetime:
    """Midnight UTC on the first of the month that follows."""
    utc = moment.astimezone(UTC)
    year, month = (utc.year + 1, 1) if utc.month == 12 else (utc.year, utc.month + 1)
    return datetime(year, month, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Room:
    """What a month has left for a turn: `free` now, `expected` when every running turn has cost nothing.

    `unsettled`: turns are over whose promises still stand; once they are settled more may be free.
    """

    free: int
    expected: int
    unsettled: bool


CAUTION = 1.5  # on our tokenizer's count where the provider's is not at hand
TURNS_END = timedelta(seconds=5)  # when to come back for what running turns may release


def cautious(tokens: int) -> int:
    """Rather too many than too few of the provider's tokens, from our own tokenizer's count."""
    return math.ceil(tokens * CAUTION)


PASSAGE_TOKENS = 450  # a chunk of 256 model tokens and its label with a long title, counted 1.5 times
PROMPT_TOKENS = 600  # instructions around question, passages, history and summary


def reservation(
    *, question: int, window: int, k: int, use_rag: bool, max_tokens: int, summary: int = 0, summarized: int = 0
) -> int:
    """Upper bound of what a turn can cost, in tokens; what it is given are upper bounds already.

    Answer: prompt, summary, window, question, k chunks and the reply. Condense: summary, window and question again,
    and a rewritten question of at most 200 tokens. Summary: the one so far, what it does not cover, and the new one.
    """
    seen = summary + window + question
    answer = PROMPT_TOKENS + seen + (k * PASSAGE_TOKENS if use_rag else 0) + max_tokens
    condense = PROMPT_TOKENS + seen + 200 if use_rag and window else 0
    summarize = PROMPT_TOKENS + summary + summarized + summary if summarized else 0
    return answer + condense + summarize
