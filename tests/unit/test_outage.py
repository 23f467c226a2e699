"""A Temporal that does not answer is asked now and then, not by everybody."""

import pytest

from api.outage import AGAIN, Outage
from domain.errors import TemporalUnavailable
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def call(known: Outage, clock: Clock, seconds: float, *, answers: bool) -> bool:
    """Whether the call was made at all."""
    made = False
    try:
        with known.noticed():
            made = True
            clock.now += seconds
            if not answers:
                raise TemporalUnavailable
    except TemporalUnavailable:
        assert not answers or not made
    return made


def test_after_a_call_without_answer_nobody_asks_for_a_while(clock: Clock) -> None:
    known = Outage(clock)

    made = [call(known, clock, 2.5, answers=False), call(known, clock, 0.1, answers=True)]
    clock.now += AGAIN
    later = [call(known, clock, 0.1, answers=True), call(known, clock, 0.1, answers=True)]

    assert (made, later) == ([True, False], [True, True])


def test_a_call_that_others_overtook_is_only_slow(clock: Clock) -> None:
    known = Outage(clock)

    def slow() -> None:
        with known.noticed():
            clock.now += 1.0
            assert call(known, clock, 0.1, answers=True)
            clock.now += 1.4
            raise TemporalUnavailable

    with pytest.raises(TemporalUnavailable):
        slow()

    assert call(known, clock, 0.1, answers=True)
