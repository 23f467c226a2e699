"""Markers that are checked, and quotes that are exact."""

from hypothesis import given
from hypothesis import strategies as st

from domain.citations import Markers, cite, without_markers
from tests.unit.passages import passage

LEASE = "The lease ends in May. The deposit is returned within 30 days. Keys are handed over at the office."
HARBOUR = "Harbour dues are paid monthly. Boats over ten metres pay double."


def test_a_marker_cites_its_passage() -> None:
    cited = cite("When?", "Dues are paid monthly [2].", [passage(LEASE), passage(HARBOUR)])

    assert [source.cited for source in cited.sources] == [False, True]


def test_the_quote_is_the_sentence_that_supports_the_claim() -> None:
    cited = cite("What happens in May?", "You get the deposit back in 30 days [1].", [passage(LEASE)])

    assert cited.sources[0].quote == "The deposit is returned within 30 days."


def test_a_passage_that_is_not_cited_is_quoted_for_the_question() -> None:
    cited = cite("Where are the keys handed over?", "Nobody knows.", [passage(LEASE)])

    assert cited.sources[0].quote == "Keys are handed over at the office."


def test_a_claim_in_another_language_falls_back_to_the_question() -> None:
    cited = cite("deposit returned", "보증금은 돌려받습니다 [1].", [passage(LEASE)])

    assert cited.sources[0].quote == "The deposit is returned within 30 days."


def test_nothing_in_common_quotes_the_first_whole_sentence() -> None:
    cited = cite("보증금", "모릅니다 [1].", [passage(f"# Lease\n{LEASE}")])

    assert cited.sources[0].quote == "The lease ends in May."


def test_a_neighbour_that_says_the_rest_is_quoted_too() -> None:
    cited = cite("?", "Dues are monthly, and boats over ten metres pay double [1].", [passage(HARBOUR)])

    assert cited.sources[0].quote == HARBOUR


def test_offsets_are_those_of_the_document() -> None:
    cited = cite("deposit returned", "x [1]", [passage(LEASE, start=1_000)])

    source = cited.sources[0]
    assert (source.start, source.end) == (1_000 + LEASE.index("The deposit"), 1_000 + LEASE.index(" Keys"))


def test_a_source_names_its_document_and_page() -> None:
    source = cite("q", "a", [passage(LEASE, document="lease", score=0.7)]).sources[0]

    assert (source.index, source.document_id, source.filename, source.title, source.page, source.score) == (
        1,
        "lease",
        "lease.txt",
        "LEASE",
        3,
        0.7,
    )


def test_a_marker_that_points_nowhere_is_dropped_and_flagged() -> None:
    cited = cite("q", "Dues are paid monthly [7].", [passage(HARBOUR)])

    assert (cited.text, cited.flags) == ("Dues are paid monthly.", ("dropped_marker",))


def test_of_a_list_of_markers_the_real_ones_stay() -> None:
    cited = cite("q", "Dues are paid monthly [0, 1, 9].", [passage(HARBOUR)])

    assert (cited.text, cited.flags) == ("Dues are paid monthly [1].", ("dropped_marker",))


def test_an_answer_whose_markers_are_all_real_stays_as_it_is() -> None:
    answer = "Monthly [1][2], or twice [1, 2]. "

    cited = cite("q", answer, [passage(HARBOUR), passage(LEASE)])

    assert (cited.text, cited.flags) == (answer, ())


def test_neighbouring_markers_share_their_sentence() -> None:
    cited = cite("q", "The deposit is returned [1][2].", [passage(HARBOUR), passage(LEASE)])

    assert cited.sources[1].quote == "The deposit is returned within 30 days."


def test_a_marker_behind_the_full_stop_belongs_to_the_sentence_before() -> None:
    cited = cite("q", "The deposit is returned. [1] The keys are at the office.", [passage(LEASE)])

    assert cited.sources[0].quote == "The deposit is returned within 30 days."


def test_a_marker_that_stands_behind_several_statements_is_quoted_for_the_first() -> None:
    answer = "The deposit is returned [1]. The lease ends in May, and keys are handed over in May at the office [1]."

    assert cite("q", answer, [passage(LEASE)]).sources[0].quote == "The deposit is returned within 30 days."


def test_years_and_other_numbers_in_brackets_are_no_markers() -> None:
    answer = "It began [1984] and ended [see 3]."

    assert cite("q", answer, [passage(HARBOUR)]).text == answer


def test_without_passages_the_answer_stays_as_it_is() -> None:
    cited = cite("q", "Take items[0] first.", [])

    assert (cited.text, cited.sources, cited.flags) == ("Take items[0] first.", (), ())


def test_a_documents_own_markers_can_be_taken_out() -> None:
    assert without_markers("Founded in 1990 [3], closed [4].") == "Founded in 1990, closed."


@given(
    st.text(alphabet="ab. \n?한글[]1,"),
    st.lists(st.text(alphabet="ab. \n?한글!", min_size=1), min_size=1, max_size=4),
    st.integers(0, 10_000),
)
def test_a_quote_is_always_the_documents_text_at_its_offsets(answer: str, texts: list[str], start: int) -> None:
    passages = [passage(text, start=start) for text in texts]

    cited = cite("a b 한글", answer, passages)

    assert len(cited.sources) == len(passages)
    assert all(
        source.quote == found.hit.text[source.start - start : source.end - start]
        for source, found in zip(cited.sources, passages, strict=True)
    )


@given(st.text(alphabet="ab. []123,"))
def test_checking_twice_changes_nothing_more(answer: str) -> None:
    passages = [passage(HARBOUR), passage(LEASE)]

    once = cite("q", answer, passages).text

    assert cite("q", once, passages).text == once


@given(
    st.lists(st.sampled_from([" ", "[", "]", "1", "2", "23", "9", ",", ", ", "[1]", " [2]", "[1, 9]", "word", "\n"]))
)
def test_what_is_let_through_while_it_comes_is_what_is_kept(pieces: list[str]) -> None:
    passages = [passage(LEASE), passage(HARBOUR)]
    markers = Markers(len(passages))

    told = [*(markers.feed(piece) for piece in pieces), markers.rest()]

    assert "".join(told) == cite("q", "".join(pieces), passages).text


@given(st.text(alphabet="[]123, a"), st.integers(1, 4))
def test_it_does_not_matter_where_an_answer_is_cut(text: str, size: int) -> None:
    markers = Markers(2)

    told = [markers.feed(text[at : at + size]) for at in range(0, len(text), size)]

    assert "".join([*told, markers.rest()]) == cite("q", text, [passage(LEASE), passage(HARBOUR)]).text


def test_nothing_is_held_back_that_cannot_become_a_marker() -> None:
    assert [Markers(1).feed(text) for text in ("a [x", "[123", "a ]", "1, 2")] == ["a [x", "[123", "a ]", "1, 2"]


def test_without_passages_everything_is_let_through_at_once() -> None:
    assert Markers(0).feed("a [1") == "a [1"


def test_what_stands_around_a_dropped_marker_is_none_either() -> None:
    cited = cite("q", "Dues [9[9]] are [1, [7] 2] paid [9 [8][7]].", [passage(HARBOUR)])

    assert cited.text == "Dues [9[]] are [1,[] 2] paid [9[]]."
