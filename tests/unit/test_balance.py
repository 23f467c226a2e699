"""The comparison of ledger and log notices what it is there to notice."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.faults.balance import balanced
from tests.provider.calls import Call


def call(number: int, *, delivered: bool = True) -> Call:
    return Call(
        number=number,
        kind="chat",
        model="m",
        messages=(),
        input=(),
        temperature=None,
        max_tokens=None,
        stream=True,
        api_key="",
        at=datetime.now(UTC),
        body={},
        status=200,
        prompt_tokens=10,
        completion_tokens=number,
        delivered=delivered,
    )


def line(number: int | None, delivery: str = "delivered", **changes: Any) -> dict[str, Any]:
    model = "m" if number is None else f"m#{number}"
    figures = {"prompt_tokens": 10, "completion_tokens": number or 0}
    return {"model": model, "purpose": "chat", "delivery": delivery, "billable": True, **figures, **changes}


def test_each_call_with_its_line_is_in_balance() -> None:
    calls = [call(1), call(2), call(3), call(4, delivered=False)]

    balance = balanced(calls, [line(1), line(2, "retried"), line(None, "retried"), line(None, "retried")])

    assert (balance.calls, balance.delivered, balance.retried, balance.unheard, balance.estimated) == (3, 1, 1, 1, 2)
    assert balance.tokens == {"chat": 11}


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([line(1)], id="a call without a line"),
        pytest.param([line(1), line(2), line(2, "retried")], id="a call with two lines"),
        pytest.param([line(1), line(2), line(3)], id="a line without a call"),
        pytest.param([line(1), line(2, completion_tokens=3)], id="other figures"),
        pytest.param([line(1), line(None)], id="delivered, but by no call"),
        pytest.param([line(1), line(None, "open")], id="never settled"),
        pytest.param([line(1), line(None, "retried", purpose="embedding")], id="a line of another kind"),
    ],
)
def test_what_is_out_of_balance_is_noticed(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(AssertionError):
        balanced([call(1), call(2)], rows)
