"""What a record says of an answer: which candidates were used, and how two answers differ."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from domain.answers import MOST_CANDIDATES, MOST_PIECES, Rerun, candidates, cost_of, difference
from domain.chat import AsOf, Turn
from domain.errors import Conflict, NoModel, UnknownModel
from domain.models import Model, Models
from domain.runs import State
from domain.search import Hit, Passage, Source
from domain.usage import Delivery, ProviderCall, Purpose

HIT = Hit("chunk-1", "document", 1, 1, "words", 100, 200, None, 0.9, 0.8, 0.5)
SOURCE = Source(1, "document", 1, "chunk-1", "harbour.txt", "Harbours", None, 100, 120, 0.9, "words", True)
TURN = Turn(
    tenant_id="t",
    account_id="a",
    conversation_id="c",
    seq=2,
    workflow_id="chat:t:c:2",
    asked_at=datetime(2026, 1, 31, tzinfo=UTC),
    question="When does it open?",
    question_tokens=8,
    model="model-1",
    temperature=0.7,
    max_tokens=100,
    use_rag=True,
    collection_id="collection",
    document_ids=("document",),
    filters={"year": ["year=1999"]},
    k=3,
    outcome=State.SUCCEEDED,
    answer="At six. [1]",
    sources=(SOURCE,),
)
MODELS = Models([Model("model-1", "model-1", None), Model("model-2", "model-2", None)])
RERUN = Rerun("chat:t:c:2", AsOf.NOW, None, MODELS, talks=True, billable=True)
CALL = ProviderCall("op", "run", Purpose.CHAT, "model-1", 9, 1, Delivery.DELIVERED, True, TURN.asked_at, 50)


# --- candidates ---------------------------------------------------------------------------------------------------


def test_candidates_are_ranked_as_they_were_found() -> None:
    found = candidates([HIT, replace(HIT, chunk_id="chunk-2", score=0.7)], [])

    assert [(one.rank, one.chunk_id, one.score, one.cosine, one.coverage) for one in found] == [
        (1, "chunk-1", 0.9, 0.8, 0.5),
        (2, "chunk-2", 0.7, 0.8, 0.5),
    ]


def test_a_row_keeps_the_best_candidates() -> None:
    found = candidates([replace(HIT, ordinal=number) for number in range(MOST_CANDIDATES + 1)], [])

    assert [one.ordinal for one in found] == list(range(MOST_CANDIDATES))


def test_a_candidate_is_chosen_when_a_passage_holds_its_words() -> None:
    longer = Passage(replace(HIT, start=50, end=260), "harbour.txt", "Harbours")
    found = {
        "itself": HIT,
        "a neighbour it took in": replace(HIT, start=200, end=260),
        "one that reaches beyond it": replace(HIT, start=200, end=261),
        "another version": replace(HIT, version=2),
        "another document": replace(HIT, document_id="other"),
    }

    chosen = candidates(found.values(), [longer])

    assert [one.chosen for one in chosen] == [True, True, False, False, False]


# --- asking again -------------------------------------------------------------------------------------------------


def test_a_rerun_asks_what_was_asked() -> None:
    ask = RERUN.ask(TURN, 12)

    assert (ask.message, ask.model, ask.document_ids, ask.filters, ask.k) == (
        TURN.question,
        "model-1",
        TURN.document_ids,
        TURN.filters,
        3,
    )
    assert (ask.temperature, ask.max_tokens, ask.question_tokens, ask.conversation_id) == (0.7, 100, 12, None)


def test_a_rerun_may_ask_another_model() -> None:
    assert replace(RERUN, model="model-2").ask(TURN, 12).model == "model-2"


@pytest.mark.parametrize(
    ("rerun", "turn", "refusal"),
    [
        (RERUN, replace(TURN, outcome=None, answer=None), Conflict),
        (replace(RERUN, as_of=AsOf.THEN), replace(TURN, outcome=State.FAILED, answer=None), Conflict),
        (RERUN, replace(TURN, collection_id=None), Conflict),
        (replace(RERUN, model="model-3"), TURN, UnknownModel),
        (RERUN, replace(TURN, model="retired"), UnknownModel),
        (replace(RERUN, talks=False), replace(TURN, use_rag=False), NoModel),
    ],
)
def test_what_cannot_be_made_again_is_refused(rerun: Rerun, turn: Turn, refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        rerun.ask(turn, 12)


@pytest.mark.parametrize(
    ("rerun", "turn"),
    [
        (RERUN, replace(TURN, outcome=State.FAILED, answer=None)),
        (replace(RERUN, as_of=AsOf.THEN), replace(TURN, collection_id=None)),
        (RERUN, replace(TURN, use_rag=False, collection_id=None)),
    ],
)
def test_what_can_be_made_again_in_one_way_is_not_refused_for_the_other(rerun: Rerun, turn: Turn) -> None:
    assert rerun.ask(turn, 12).message == turn.question


# --- comparing ----------------------------------------------------------------------------------------------------


def test_answers_are_compared_sentence_by_sentence() -> None:
    before = replace(TURN, answer="It opens at six [1]. It is never closed.")

    found = difference(before, replace(TURN, answer="It opens at seven [1]. It is never closed."))

    assert found is not None
    assert found.answer == (
        "--- before",
        "+++ after",
        "@@ -1,2 +1,2 @@",
        "-It opens at six [1].",
        "+It opens at seven [1].",
        " It is never closed.",
    )


def test_equal_answers_do_not_differ() -> None:
    found = difference(TURN, TURN)

    assert found is not None
    assert (found.answer, found.added, found.removed, found.kept) == ((), (), (), (SOURCE,))


def test_sources_of_another_version_are_other_sources() -> None:
    newer = replace(SOURCE, version=2, chunk_id="chunk-9")

    found = difference(TURN, replace(TURN, sources=(newer,)))

    assert found is not None
    assert (found.added, found.removed, found.kept) == ((newer,), (SOURCE,), ())


def test_there_is_no_difference_to_what_was_never_said() -> None:
    assert difference(TURN, replace(TURN, answer=None)) is None
    assert difference(replace(TURN, answer=None), TURN) is None


def test_a_very_long_answer_is_compared_in_a_bounded_number_of_pieces() -> None:
    longest = "\n".join(f"Line {number}." for number in range(10_000))

    found = difference(replace(TURN, answer=""), replace(TURN, answer=longest))

    assert found is not None
    assert len(found.answer) == 3 + MOST_PIECES


def test_a_cost_is_the_sum_of_what_counts() -> None:
    lost = replace(CALL, delivery=Delivery.RETRIED)

    assert cost_of([CALL, replace(CALL, delivery=Delivery.ESTIMATED), lost, replace(CALL, cost=None)]) == 100
    assert cost_of([lost, replace(CALL, cost=None)]) is None
