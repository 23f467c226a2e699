"""Tokens: what was bought, what is promised, what is left."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum


class Purpose(StrEnum):
    CHAT = "chat"
    CONDENSE = "condense"
    EMBEDDING = "embedding"


COUNTED = (Purpose.CHAT, Purpose.CONDENSE)  # what a token_limit is about


class Delivery(StrEnum):
    DELIVERED = "delivered"
    ESTIMATED = "estimated"
    RETRIED = "retried"


@dataclass(frozen=True, slots=True)
class ProviderCall:
    """One reply of a model, written down when it arrives. `op_id` names the attempt and is unique."""

    op_id: str
    workflow_id: str | None
    purpose: Purpose
    model: str
    prompt_tokens: int
    completion_tokens: int
    delivery: Delivery
    billable: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class PurposeTotal:
    purpose: Purpose
    model: str
    tokens: int
    calls: int
    billable: bool


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


PASSAGE_TOKENS = 450  # a chunk of 256 model tokens and its label with a long title, counted 1.5 times
PROMPT_TOKENS = 500  # instructions around question, passages and history


def reservation(*, question: int, window: int, k: int, use_rag: bool, max_tokens: int) -> int:
    """Upper bound of what a turn can cost, in tokens; `question` and `window` are already upper bounds.

    Answer: prompt, window, question, k chunks and the reply. Condense: the window and the question again, and
    a rewritten question of at most 200 tokens.
    """
    answer = PROMPT_TOKENS + window + question + (k * PASSAGE_TOKENS if use_rag else 0) + max_tokens
    condense = PROMPT_TOKENS + window + question + 200 if use_rag and window else 0
    return answer + condense
