"""Answers without a language model: sentences of the passages, word for word."""

import pytest

from domain.chat import Completion, Finish, Prompt
from domain.search import Passage
from infra.extractive import ExtractiveAnswerer
from infra.memory import StubEmbedder
from tests.unit.passages import passage

DUES = "Harbour dues are paid monthly. The office opens at nine."
LEASE = "# Lease of berths\n- Keys\nThe deposit is returned within 30 days. The lease ends in May."


def prompt(question: str, *passages: Passage, max_tokens: int = 1_000, query: str = "") -> Prompt:
    return Prompt(question, passages, (), True, None, 0.7, max_tokens, query)


async def answer(asked: Prompt) -> tuple[list[str], Completion]:
    pieces: list[str] = []
    async for piece in ExtractiveAnswerer(StubEmbedder(), None).answer(asked):
        if isinstance(piece, Completion):
            return pieces, piece
        pieces.append(piece)
    raise AssertionError("no completion")


async def test_the_best_sentence_is_quoted_with_its_marker() -> None:
    _, completion = await answer(prompt("When are harbour dues paid?", passage(LEASE), passage(DUES)))

    assert completion.text.startswith("Harbour dues are paid monthly. [2]")


async def test_the_pieces_are_the_text() -> None:
    pieces, completion = await answer(prompt("deposit and dues", passage(LEASE), passage(DUES)))

    assert "".join(pieces) == completion.text


async def test_it_costs_nothing_and_says_that_no_model_answered() -> None:
    _, completion = await answer(prompt("dues", passage(DUES)))

    assert completion == Completion(completion.text, "extractive", Finish.STOP)


async def test_sentences_far_behind_the_best_are_left_out() -> None:
    _, completion = await answer(prompt("Harbour dues are paid monthly", passage(DUES)))

    assert completion.text == "Harbour dues are paid monthly. [1]"


async def test_a_sentence_in_two_passages_is_said_once() -> None:
    _, completion = await answer(prompt("dues", passage(DUES), passage(DUES, document="copy")))

    assert completion.text.count("Harbour dues") == 1


async def test_a_sentence_that_says_the_opposite_is_another_sentence() -> None:
    both = passage("Boats may moor here. Boats may not moor here.")

    _, completion = await answer(prompt("May boats moor here?", both))

    assert "may moor here" in completion.text
    assert "may not moor here" in completion.text


async def test_at_most_three_sentences_answer() -> None:
    same = " ".join(f"Dues {number} are paid." for number in range(9))

    _, completion = await answer(prompt("dues paid", passage(same)))

    assert completion.text.count("[1]") == 3


async def test_headings_and_list_markers_do_not_answer() -> None:
    _, completion = await answer(prompt("keys", passage("Keys\n- Keys\nThe keys are at the office.")))

    assert completion.text == "The keys are at the office. [1]"


async def test_fragments_answer_where_there_is_nothing_else() -> None:
    _, completion = await answer(prompt("keys", passage("Keys: office")))

    assert completion.text == "Keys: office [1]"


async def test_a_short_limit_leaves_one_sentence() -> None:
    _, completion = await answer(prompt("dues office opens", passage(DUES), max_tokens=5))

    assert completion.text.count("[1]") == 1


async def test_a_documents_own_markers_are_not_taken_for_citations() -> None:
    _, completion = await answer(prompt("dues", passage("Harbour dues are monthly [7].")))

    assert completion.text == "Harbour dues are monthly. [1]"


async def test_a_follow_up_is_ranked_by_the_question_that_stands_alone() -> None:
    _, completion = await answer(prompt("And when?", passage(f"{DUES} {LEASE}"), query="When is the deposit returned?"))

    assert completion.text.startswith("The deposit is returned within 30 days.")


async def test_a_better_passage_decides_between_equal_sentences() -> None:
    weak, strong = passage("The red boat sails.", score=0.1), passage("The blue boat sails.", score=0.9)

    _, completion = await answer(prompt("boat sails", weak, strong))

    assert completion.text.startswith("The blue boat sails. [2]")


async def test_only_the_five_best_passages_are_read() -> None:
    _, completion = await answer(prompt("dues", *[passage("The office opens at nine.")] * 5, passage(DUES)))

    assert "dues" not in completion.text


@pytest.mark.parametrize("passages", [(), (passage("---"),)])
async def test_without_words_to_quote_nothing_is_found(passages: tuple[Passage, ...]) -> None:
    pieces, completion = await answer(prompt("dues", *passages))

    assert (pieces, completion.text, completion.finish) == ([], "", Finish.NOT_FOUND)


async def test_there_is_no_one_to_rewrite_a_question() -> None:
    assert await ExtractiveAnswerer(StubEmbedder(), None).condense("And when?", [], None) is None
    assert await ExtractiveAnswerer(StubEmbedder(), None).summarize("", [], None) is None
