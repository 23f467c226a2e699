"""A Temporal that does not answer is asked now and then, not by everybody."""

import pytest

from api import outage
from api.outage import Outage
from domain.errors import TemporalUnavailable


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(outage.time, "monotonic", lambda: now[0])
    return now


def call(known: Outage, clock: list[float], seconds: float, *, answers: bool) -> bool:
    """Whether the call was made at all."""
    made = False
    try:
        with known.noticed():
            made = True
            clock[0] += seconds
            if not answers:
                raise TemporalUnavailable
    except TemporalUnavailable:
        assert not answers or not made
    return made


def test_after_a_call_without_answer_nobody_asks_for_a_while(clock: list[float]) -> None:
    known = Outage()

    made = [call(known, clock, 2.5, answers=False), call(known, clock, 0.1, answers=True)]
    clock[0] += outage.AGAIN
    later = [call(known, clock, 0.1, answers=True), call(known, clock, 0.1, answers=True)]

    assert (made, later) == ([True, False], [True, True])


def test_a_call_that_others_overtook_is_only_slow(clock: list[float]) -> None:
    known = Outage()

    def slow() -> None:
        with known.noticed():
            clock[0] += 1.0
            assert call(known, clock, 0.1, answers=True)
            clock[0] += 1.4
            raise TemporalUnavailable

    with pytest.raises(TemporalUnavailable):
        slow()

    assert call(known, clock, 0.1, answers=True)
