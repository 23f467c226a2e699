"""The calendar of the ledger and the upper bound of a turn."""

from datetime import UTC, datetime, timedelta, timezone

from domain.usage import PASSAGE_TOKENS, PROMPT_TOKENS, month_of, next_month, reservation

SEOUL = timezone(timedelta(hours=9))


def test_the_month_is_that_of_utc() -> None:
    assert month_of(datetime(2025, 3, 1, 8, 59, tzinfo=SEOUL)) == "2025-02"


def test_the_next_month_begins_at_midnight_utc() -> None:
    assert next_month(datetime(2025, 3, 1, 8, 59, tzinfo=SEOUL)) == datetime(2025, 3, 1, tzinfo=UTC)


def test_december_is_followed_by_january() -> None:
    assert next_month(datetime(2025, 12, 31, 23, tzinfo=UTC)) == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_plain_turn_reserves_prompt_question_and_reply() -> None:
    reserved = reservation(question=30, window=0, k=5, use_rag=False, max_tokens=100)

    assert reserved == PROMPT_TOKENS + 30 + 100


def test_retrieval_reserves_every_passage() -> None:
    reserved = reservation(question=30, window=0, k=5, use_rag=True, max_tokens=100)

    assert reserved == PROMPT_TOKENS + 30 + 100 + 5 * PASSAGE_TOKENS


def test_a_summary_is_reserved_with_what_it_reads_and_in_every_prompt() -> None:
    known = reservation(question=30, window=400, k=5, use_rag=False, max_tokens=100, summary=60)

    made = reservation(question=30, window=400, k=5, use_rag=False, max_tokens=100, summary=60, summarized=700)

    assert known == PROMPT_TOKENS + 60 + 400 + 30 + 100
    assert made == known + (PROMPT_TOKENS + 60 + 700 + 60)


def test_a_follow_up_with_retrieval_reserves_a_rewritten_question() -> None:
    first = reservation(question=30, window=0, k=5, use_rag=True, max_tokens=100)

    follow_up = reservation(question=30, window=400, k=5, use_rag=True, max_tokens=100)

    assert follow_up == first + 400 + (PROMPT_TOKENS + 400 + 30 + 200)


def test_a_follow_up_without_retrieval_is_not_rewritten() -> None:
    reserved = reservation(question=30, window=400, k=5, use_rag=False, max_tokens=100)

    assert reserved == PROMPT_TOKENS + 400 + 30 + 100
