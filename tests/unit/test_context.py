"""How much of a prompt is sent: what goes first, what stays, and when there is nothing to do but refuse."""

from dataclasses import replace

import pytest

from domain.chat import Line, Prompt, Speaker
from domain.context import Sizes, fitted, halved, trimmed
from domain.errors import ContextTooLong
from tests.unit.passages import passage

HISTORY = tuple(
    Line(speaker, f"{speaker} {turn}") for turn in range(3) for speaker in (Speaker.USER, Speaker.ASSISTANT)
)
PASSAGES = tuple(passage(f"Passage {number}.") for number in range(4))
PROMPT = Prompt(
    question="And then?",
    passages=PASSAGES,
    history=HISTORY,
    use_rag=True,
    model=None,
    temperature=0.7,
    max_tokens=100,
)
SIZES = Sizes(rest=50, history=[10] * 6, passages=[40] * 4)
WHOLE = 50 + 60 + 160 + 100


def left(context: int, prompt: Prompt = PROMPT, sizes: Sizes = SIZES) -> tuple[int, int]:
    """(messages, passages) that are sent."""
    sent = fitted(prompt, sizes, context)
    return len(sent.history), len(sent.passages)


def test_what_fits_is_sent_whole() -> None:
    assert fitted(PROMPT, SIZES, WHOLE) == PROMPT


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (WHOLE, (6, 4)),
        (WHOLE - 1, (4, 4)),
        (WHOLE - 20, (4, 4)),
        (WHOLE - 60, (0, 4)),
        (WHOLE - 61, (2, 3)),
        (WHOLE - 180, (0, 1)),
    ],
)
def test_old_messages_go_before_passages_and_turns_go_whole(context: int, expected: tuple[int, int]) -> None:
    assert left(context) == expected


def test_the_newest_messages_and_the_best_passages_stay_in_their_order() -> None:
    sent = fitted(PROMPT, replace(SIZES, history=[10, 10, 10, 10, 90, 10]), WHOLE - 61 + 80 - 19)

    assert sent.history == ()
    assert sent.passages == PASSAGES
    assert fitted(PROMPT, SIZES, WHOLE - 20).history == HISTORY[2:]
    assert fitted(PROMPT, SIZES, WHOLE - 61).passages == PASSAGES[:3]


def test_prompt_and_reply_together_never_exceed_the_context() -> None:
    for context in range(WHOLE - 180, WHOLE + 20):
        said, found = left(context)

        assert SIZES.rest + 10 * said + 40 * found + PROMPT.max_tokens <= context


def test_a_question_too_long_for_the_model_is_refused() -> None:
    alone = replace(PROMPT, passages=(), use_rag=False)

    assert left(150, alone, Sizes(50, [10] * 6, [])) == (0, 0)
    with pytest.raises(ContextTooLong):
        left(149, alone, Sizes(50, [10] * 6, []))


def test_an_answer_from_documents_is_not_asked_for_without_any() -> None:
    with pytest.raises(ContextTooLong):
        left(WHOLE - 181)


def test_the_smaller_half_begins_with_a_question_and_keeps_a_passage() -> None:
    half = halved(PROMPT)
    least = halved(half)

    assert (half.history, half.passages) == (HISTORY[4:], PASSAGES[:2])
    assert (least.history, least.passages) == ((), PASSAGES[:1])
    with pytest.raises(ContextTooLong):
        halved(least)


def test_what_was_left_out_can_be_told() -> None:
    assert not trimmed(PROMPT, replace(PROMPT, model="other", max_tokens=1))
    assert trimmed(PROMPT, halved(PROMPT))
