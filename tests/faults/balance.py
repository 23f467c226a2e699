"""The ledger against the provider's log, call by call: the model that answers is named after its call's number."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domain.usage import BILLED, Delivery
from tests.provider.calls import Call

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Balance:
    """`calls` that the provider completed, by what became of them; `tokens` of the delivered ones by purpose."""

    calls: int
    delivered: int
    retried: int  # with their exact figures
    unheard: int  # their worker died: among the lines that are estimated
    estimated: int
    tokens: Mapping[str, int]


def balanced(calls: Sequence[Call], rows: Sequence[Row]) -> Balance:
    """Raises AssertionError unless every completed call is in the ledger once, and nothing else as delivered."""
    completed = {call.number: call for call in calls if call.delivered}
    numbered = [row for row in rows if "#" in row["model"]]
    times = Counter(map(number_of, numbered))
    assert times.keys() <= completed.keys(), f"never made: {times.keys() - completed.keys()}"
    assert max(times.values(), default=1) == 1, f"more than once: {times}"
    for row in numbered:
        call = completed[number_of(row)]
        assert figures(row) == (kind_of(row), call.prompt_tokens, call.completion_tokens), (row, call)
        assert row["delivery"] in (Delivery.DELIVERED, Delivery.RETRIED), row
    others = [row for row in rows if "#" not in row["model"] and row["billable"]]
    assert [row for row in others if row["delivery"] in (Delivery.DELIVERED, Delivery.OPEN)] == []
    unheard = Counter(call.kind for number, call in completed.items() if number not in times)
    guessed = Counter(map(kind_of, others))
    assert unheard <= guessed, f"without a line: {unheard}, lines by estimate: {guessed}"
    delivered = [row for row in numbered if row["delivery"] == Delivery.DELIVERED]
    return Balance(
        calls=len(completed),
        delivered=len(delivered),
        retried=len(numbered) - len(delivered),
        unheard=unheard.total(),
        estimated=len(others),
        tokens=_by_purpose(delivered, completed),
    )


def counted(rows: Iterable[Row]) -> int:
    """Tokens that the month counts."""
    lines = [row for row in rows if row["purpose"] != "embedding" and row["billable"] and row["delivery"] in BILLED]
    return sum(row["prompt_tokens"] + row["completion_tokens"] for row in lines)


def number_of(row: Row) -> int:
    return int(row["model"].rpartition("#")[2])


def kind_of(row: Row) -> str:
    return "embedding" if row["purpose"] == "embedding" else "chat"


def figures(row: Row) -> tuple[str, int, int]:
    return kind_of(row), row["prompt_tokens"], row["completion_tokens"]


def _by_purpose(rows: Iterable[Row], completed: Mapping[int, Call]) -> Counter[str]:
    """By the provider's own figures."""
    tokens: Counter[str] = Counter()
    for row in rows:
        call = completed[number_of(row)]
        tokens[row["purpose"]] += call.prompt_tokens + call.completion_tokens
    return tokens
