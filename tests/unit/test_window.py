"""What a turn sees of the conversation before it, and what goes into its summary."""

from dataclasses import replace

import pytest

from domain.window import READ, SUMMARY_TOKENS, TURNS, Earlier, Exchange, Past, Sizes, foreseen, longest_message

ROOM = 2_000


def exchange(seq: int, tokens: int = 20) -> Exchange:
    return Exchange(seq, f"q{seq}", tokens // 2, f"a{seq}", tokens - tokens // 2)


def past(*sizes: int, until: int = 0, summary: str = "") -> Past:
    """Turns of these sizes, from 1 on."""
    return Past(summary, until, tuple(exchange(seq, size) for seq, size in enumerate(sizes, start=1)))


def summarized(found: Past, until: int) -> Past:
    return replace(found, summary="s", until=until).trimmed()


def seqs(exchanges: tuple[Exchange, ...]) -> list[int]:
    return [one.seq for one in exchanges]


def said(found: Past, tokens: int = ROOM) -> list[str]:
    return [line.text for line in found.window(tokens)]


def window_tokens(found: Past) -> int:
    questions = set(said(found)[::2])
    return sum(one.tokens for one in found.exchanges if one.question in questions)


def test_a_conversation_that_has_not_begun_has_no_past() -> None:
    assert (said(Past()), Past().left_out(ROOM)) == ([], ())


def test_the_window_is_the_newest_ten_messages_oldest_first() -> None:
    found = said(past(*[20] * 7))

    assert found == ["q3", "a3", "q4", "a4", "q5", "a5", "q6", "a6", "q7", "a7"]
    assert len(found) == 2 * TURNS


def test_the_window_holds_no_more_tokens_than_it_may() -> None:
    assert said(past(100, 900, 900, 200)) == ["q2", "a2", "q3", "a3", "q4", "a4"]
    assert said(past(100, 901, 900, 200)) == ["q3", "a3", "q4", "a4"]


def test_a_window_has_no_hole() -> None:
    assert said(past(10, 1_900, 200)) == ["q3", "a3"]


def test_two_messages_of_the_longest_size_fill_a_window() -> None:
    longest = 2 * longest_message(ROOM)

    assert said(past(longest, longest)) == ["q2", "a2"]


def test_nothing_is_summarized_while_the_window_holds_everything() -> None:
    assert past(*[20] * TURNS).left_out(ROOM) == ()


def test_what_leaves_the_window_is_summarized_with_the_older_half_of_it() -> None:
    assert seqs(past(*[20] * 6).left_out(ROOM)) == [1, 2, 3, 4]


def test_a_summary_is_made_again_only_when_the_window_has_moved_past_it() -> None:
    moved = [summarized(past(*[20] * 6), 4)]
    for seq in range(7, 11):
        moved.append(moved[-1].then(exchange(seq)))

    assert [seqs(found.left_out(ROOM)) for found in moved] == [[], [], [], [], [5, 6, 7, 8]]


def test_what_is_summarized_may_still_be_in_the_window() -> None:
    assert said(summarized(past(*[20] * 6), 4))[0] == "q2"


def test_long_turns_are_summarized_as_soon_as_they_do_not_fit() -> None:
    assert seqs(past(900, 900, 900).left_out(ROOM)) == [1, 2]
    assert seqs(past(1_500, 1_500).left_out(ROOM)) == [1]


def test_a_summary_reads_no_more_tokens_than_a_window_holds() -> None:
    missed = past(*[700] * 12)

    taken = missed.left_out(ROOM)

    assert seqs(taken) == [1, 2]
    assert seqs(summarized(missed, 2).left_out(ROOM)) == [3, 4]


def test_a_turn_that_fills_a_window_can_be_summarized() -> None:
    assert seqs(past(ROOM, 20, 20).left_out(ROOM)) == [1]


@pytest.mark.parametrize("size", [1, 20, 399, 400, 401, 700, 1_000, 1_999, 2_000])
def test_of_a_long_conversation_every_turn_is_in_the_window_or_in_the_summary(size: int) -> None:
    found, calls = Past(), 0
    for seq in range(1, 61):
        if taken := found.left_out(ROOM):
            found, calls = summarized(found, taken[-1].seq), calls + 1
        in_window = {int(text[1:]) for text in said(found)}
        assert set(range(1, seq)) <= in_window | set(range(1, found.until + 1))
        assert len(in_window) <= TURNS
        assert window_tokens(found) <= ROOM
        assert len(found.exchanges) <= TURNS + 1
        found = found.then(exchange(seq, size))

    assert calls <= 60 // 4 if size <= 400 else calls < 60


def test_without_a_summary_no_more_turns_are_kept_at_hand_than_are_read() -> None:
    found = Past()
    for seq in range(1, 101):
        found = found.then(exchange(seq))

    assert seqs(found.exchanges) == list(range(101 - READ, 101))


# --- what admission reserves ------------------------------------------------------------------------------------


def admitted(found: Past, *, opened: int = 0, tokens: int = ROOM) -> Sizes:
    """What is foreseen for the turn after these, of which the newest `opened` are still to be answered."""
    newest = found.exchanges[: -TURNS - 2 : -1]
    earlier = [
        Earlier(one.seq, one.question_tokens, one.answer_tokens, is_open=place < opened)
        for place, one in enumerate(newest)
    ]
    return foreseen(earlier, found.until, tokens)


def test_a_first_turn_sees_nothing() -> None:
    assert admitted(Past()) == Sizes()


def test_what_fits_the_window_is_reserved_as_it_is() -> None:
    assert admitted(past(20, 30)) == Sizes(window=50)


def test_a_message_is_reserved_as_it_is_cut() -> None:
    assert admitted(Past(exchanges=(Exchange(1, "q", 9_000, "a", 10),))) == Sizes(window=1_010)


def test_a_summary_is_reserved_once_there_may_be_one() -> None:
    assert admitted(past(*[20] * 6)) == Sizes(100, SUMMARY_TOKENS, ROOM)
    assert admitted(summarized(past(*[20] * 6), 4)) == Sizes(100, SUMMARY_TOKENS)


def test_when_an_open_turn_fails_an_older_one_takes_its_place() -> None:
    assert admitted(past(1_500, *[20] * 5, until=4, summary="s"), opened=1).window == ROOM


@pytest.mark.parametrize("failing", [False, True], ids=["summaries", "no summaries"])
@pytest.mark.parametrize("size", [1, 20, 399, 400, 401, 700, 1_000, 2_000])
def test_no_turn_sees_more_than_was_reserved(size: int, failing: bool) -> None:
    found = Past()
    for seq in range(1, 31):
        sizes = admitted(found)
        taken = found.left_out(ROOM)
        assert sum(one.tokens for one in taken) <= sizes.summarized
        if taken and not failing:
            found = summarized(found, taken[-1].seq)
        assert bool(found.summary) <= bool(sizes.summary)
        assert window_tokens(found) <= sizes.window
        found = found.then(exchange(seq, size))
