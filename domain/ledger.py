"""The ledger and what is derived from it: calls are right, as commands are about what is reserved; months, runs and
turns follow from them."""

from collections.abc import Iterator
from dataclasses import dataclass

from domain.reconcile import Difference, Finding


@dataclass(frozen=True, slots=True)
class MonthSums:
    """An account's month as its row says (0 without one), and as its calls and commands add up at the same moment.

    `counted` are tokens of settled calls that count, `promised` those its runs hold; `calls` are all of its lines.
    """

    account: str
    month: str
    used: int
    counted: int
    reserved: int
    promised: int
    calls: int


@dataclass(frozen=True, slots=True)
class AnsweredTurn:
    """Tokens as an answered turn says, and as its calls for the answer do that were delivered or estimated."""

    prompt: int
    completion: int
    calls: int
    called_prompt: int
    called_completion: int


@dataclass(frozen=True, slots=True)
class ClosedRun:
    workflow_id: str
    account: str
    settled: bool
    turn: AnsweredTurn | None = None


@dataclass(frozen=True, slots=True)
class OpenCall:
    op_id: str
    account: str


def compare_month(tenant: str, sums: MonthSums) -> list[Finding]:
    pairs = (
        (Difference.MONTH_USED, sums.counted, sums.used),
        (Difference.MONTH_RESERVED, sums.promised, sums.reserved),
    )
    return [
        Finding(difference, tenant, sums.month, sums.account, expected=expected, found=found)
        for difference, expected, found in pairs
        if expected != found
    ]


def compare_run(tenant: str, run: ClosedRun) -> list[Finding]:
    unsettled = Finding(Difference.UNSETTLED, tenant, run.workflow_id, run.account)
    turn = () if run.turn is None else _compared(run.turn)
    return [
        *([] if run.settled else [unsettled]),
        *(Finding(Difference.TURN_DIFFERS, tenant, run.workflow_id, *each, mendable=False) for each in turn),
    ]


def _compared(turn: AnsweredTurn) -> Iterator[tuple[str, int, int]]:
    """What, expected, found. An answer that no model was asked for has no call, and took nothing."""
    asked = turn.calls > 0 or turn.prompt + turn.completion > 0
    if turn.calls != int(asked):
        yield "calls", int(asked), turn.calls
        return
    if turn.prompt != turn.called_prompt:
        yield "prompt tokens", turn.called_prompt, turn.prompt
    if turn.completion != turn.called_completion:
        yield "completion tokens", turn.called_completion, turn.completion
