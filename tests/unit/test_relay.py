"""What one reader of a run is told: everything once, nothing of an attempt that is over, and the kept answer."""

import random

import pytest

from domain.events import Event, EventKind, Relay, position

STEP = Event("1-0", EventKind.STEP, {"name": "answer"})
FIRST = [Event(f"2-{number}", EventKind.TOKEN, {"text": text}) for number, text in enumerate(["The lock ", "opens"])]
RESET = Event("3-0", EventKind.RESET, {"attempt": 2}, 2)
SECOND = [Event(f"4-{number}", EventKind.TOKEN, {"text": text}, 2) for number, text in enumerate(["At ", "six."])]
STRAY = Event("4-9", EventKind.TOKEN, {"text": " at five"}, 1)
DONE = Event("5-0", EventKind.DONE)
ALL = [STEP, *FIRST, RESET, *SECOND, STRAY, DONE]
TOLD = [STEP, *FIRST, RESET, *SECOND]


def said(events: list[Event]) -> str:
    """As a client puts it together."""
    text = ""
    for event in events:
        if event.kind is EventKind.RESET:
            text = ""
        elif event.kind is EventKind.TOKEN:
            text += event.text
    return text


def test_who_comes_first_or_last_is_told_the_same() -> None:
    late, early = Relay(), Relay()

    assert late.begin(ALL) == TOLD
    assert [*early.begin([]), *(told for event in ALL for told in early.tell([event]))] == TOLD


def test_words_of_an_attempt_that_is_over_are_not_told() -> None:
    assert STRAY not in Relay().begin(ALL)


@pytest.mark.parametrize("seen", range(len(TOLD)))
def test_who_comes_back_is_told_the_rest(seen: int) -> None:
    relay = Relay(TOLD[seen].id)

    assert relay.begin(ALL) == TOLD[seen + 1 :]
    assert relay.end("At six.") == []


def test_who_comes_back_for_what_is_not_kept_begins_anew() -> None:
    kept = [*SECOND, DONE]

    reset, *rest = Relay(FIRST[0].id).begin(kept)

    assert (reset.kind, reset.data, reset.id) == (EventKind.RESET, {"attempt": 2}, "0-0")
    assert rest == SECOND


def test_who_comes_back_to_an_empty_log_begins_anew() -> None:
    assert [event.kind for event in Relay("7-0").begin([])] == [EventKind.RESET]


@pytest.mark.parametrize("beginning", [None, "", "0", "-1", "0-0"])
def test_the_beginning_has_several_names(beginning: str | None) -> None:
    assert Relay(beginning).begin(ALL) == TOLD


def test_what_was_said_again_after_the_log_was_lost_counts_once() -> None:
    relay = Relay()
    relay.begin(FIRST)

    told = relay.tell(
        [Event("9-0", EventKind.RESET, {"attempt": 1}), Event("9-1", EventKind.TOKEN, {"text": "The lock opens"})]
    )

    assert said([*FIRST, *told]) == "The lock opens"
    assert relay.end("The lock opens") == []


def test_an_answer_that_was_never_told_comes_at_the_end() -> None:
    relay = Relay()
    relay.begin(FIRST)

    assert said([*FIRST, *relay.end("At six.")]) == "At six."


def test_an_end_without_words_takes_nothing_back() -> None:
    relay = Relay()
    relay.begin(FIRST)

    assert relay.end(None) == []


@pytest.mark.parametrize("seed", range(200))
def test_cut_anywhere_and_resumed_any_number_of_times_the_words_are_the_answer(seed: int) -> None:
    """Over random attempts, strays, losses of the log, and readers that leave and come back."""
    dice = random.Random(seed)
    answer, log = _history(dice)
    heard: list[Event] = []
    last: str | None = None
    ended = False
    while not ended:
        relay = Relay(last)
        start = dice.randrange(len(log) + 1)  # how much was kept when the reader came
        fresh = relay.begin(log[:start])
        for at in range(start, len(log)):
            fresh += relay.tell([log[at]])
        leaves = dice.randrange(len(fresh) + 1) if dice.random() < 0.7 else None
        ended = leaves is None
        taken = [*fresh, *relay.end(answer)] if leaves is None else fresh[:leaves]
        heard += taken
        last = next((event.id for event in reversed(taken) if event.id), last)
        if dice.random() < 0.2:
            log = log[dice.randrange(len(log)) :]  # flushed up to here

    assert said(heard) == answer


def _history(dice: random.Random) -> tuple[str, list[Event]]:
    """(the answer, the log that its attempts left)."""
    log: list[Event] = []
    text = ""
    for attempt in range(1, dice.randint(1, 3) + 1):
        if attempt > 1:
            log.append(Event(f"{len(log) + 1}-0", EventKind.RESET, {"attempt": attempt}, attempt))
        text = ""
        for _ in range(dice.randint(1, 6)):
            piece = dice.choice(["a", "bc", " d", "e. "])
            text += piece
            log.append(Event(f"{len(log) + 1}-0", EventKind.TOKEN, {"text": piece}, attempt))
            if attempt > 1 and dice.random() < 0.2:
                log.append(Event(f"{len(log) + 1}-0", EventKind.TOKEN, {"text": "stray"}, attempt - 1))
    return text, [*log, Event(f"{len(log) + 1}-0", EventKind.DONE)]


@pytest.mark.parametrize("name", ["", "x", "1-", "-5", "1-2-3", "9" * 19, "1.5"])
def test_what_is_no_id_has_no_position(name: str) -> None:
    assert position(name) is None
