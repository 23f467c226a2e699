"""Which chunks an answer stands on, and what stands beside them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from domain.documents import Span
from domain.passages import Context, Layout, Piece, around, beside, chosen, crowded, merged, pieces, room, share
from domain.search import Passage
from tests.unit.passages import passage

PARAGRAPHS = ("The lock opens at six.", "It closes at nine.", "Boats wait outside.", "The pilot boards there.")
TEXT = "\n\n".join(PARAGRAPHS)
ROOM = 1_000


def layout(*, pages: Sequence[int | None] = (None,) * 4, headings: Sequence[str] = ("",) * 4) -> Layout:
    places = [(TEXT.index(paragraph), TEXT.index(paragraph) + len(paragraph)) for paragraph in PARAGRAPHS]
    described = zip(places, pages, headings, strict=True)
    return whole(TEXT, [Span(at, *place, page, (heading,)) for at, (place, page, heading) in enumerate(described)])


def whole(text: str, spans: Sequence[Span]) -> Layout:
    places = around(set(range(len(spans))), spans)
    return Layout(spans, {ordinal: text[start:end] for ordinal, (start, end) in places.items()})


def hit(ordinal: int, *, document: str = "d", score: float = 1.0) -> Passage:
    """The chunk of that paragraph."""
    paragraph = PARAGRAPHS[ordinal]
    one = passage(paragraph, start=TEXT.index(paragraph), document=document, score=score)
    return replace(one, hit=replace(one.hit, ordinal=ordinal, page=None))


def texts(passages: Sequence[Passage]) -> list[str]:
    return [passage.hit.text for passage in passages]


def shown(hits: Sequence[Passage], place: Layout, *, tokens: int = ROOM, most: int | None = 3) -> tuple[Passage, ...]:
    """As the chat does it; every letter is a token."""
    layouts = {hits[0].hit.document_id: place}
    context = Context(tokens, most)
    fill(context, pieces(hits))
    fill(context, beside(context.pieces, layouts))
    return merged(context.pieces, layouts)


def fill(context: Context, offered: Sequence[Piece]) -> None:
    context.fill(offered, [len(piece.text) for piece in offered])


def test_at_most_three_chunks_of_a_document_are_chosen() -> None:
    stuffed = [passage(f"Dues number {at}", document="stuffed") for at in range(9)]
    honest = passage("Dues are monthly.", document="honest")

    assert chosen([*stuffed, honest], 5) == (*stuffed[:3], honest)


def test_where_all_candidates_are_of_one_document_it_has_no_share() -> None:
    only = [passage(f"Dues number {at}") for at in range(9)]

    assert chosen(only, 5) == tuple(only[:5])
    assert share(only) is None


def test_the_same_words_in_two_documents_are_one_passage() -> None:
    best, copy = passage("Dues are monthly.", document="a"), passage("DUES are\nmonthly", document="b")

    assert chosen([best, copy], 5) == (best,)


def test_a_not_makes_another_text() -> None:
    candidates = [passage("Boats may moor here.", document="a"), passage("Boats may not moor here.", document="b")]

    assert chosen(candidates, 5) == tuple(candidates)


def test_candidates_are_crowded_when_the_shares_of_their_documents_are_too_few() -> None:
    stuffed = [passage(f"Dues number {at}", document="stuffed") for at in range(9)]
    others = [passage(f"Fees of {name}", document=name) for name in "ab"]

    assert crowded(stuffed, 5)
    assert not crowded([*stuffed, *others], 5)


def test_neighbours_come_along_as_one_passage_with_the_documents_own_text_between() -> None:
    (one,) = shown([hit(1, score=0.7)], layout())

    assert one.hit.text == TEXT[one.hit.start : one.hit.end] == "\n\n".join(PARAGRAPHS[:3])
    assert (one.hit.chunk_id, one.hit.score, one.hit.ordinal) == (hit(1).hit.chunk_id, 0.7, 1)


def test_neighbouring_hits_are_one_passage_with_the_evidence_of_the_best() -> None:
    best, second = hit(2, score=0.9), hit(1, score=0.4)

    (one,) = shown([best, second], layout(), most=2)

    assert one.hit.text == "\n\n".join(PARAGRAPHS[1:3])
    assert (one.hit.chunk_id, one.hit.score) == (best.hit.chunk_id, 0.9)


def test_a_neighbour_of_another_section_stays_away() -> None:
    (one,) = shown([hit(1)], layout(headings=("Lock", "Lock", "Pilots", "Pilots")))

    assert one.hit.text == "\n\n".join(PARAGRAPHS[:2])


def test_a_neighbour_on_another_page_stays_away_because_a_citation_names_one_page() -> None:
    (one,) = shown([hit(1)], layout(pages=(1, 2, 2, 3)))

    assert one.hit.text == "\n\n".join(PARAGRAPHS[1:3])


def test_hits_of_two_sections_are_two_passages() -> None:
    hits = [hit(1), hit(2)]

    assert shown(hits, layout(headings=("a", "b", "c", "d"))) == tuple(hits)


def test_passages_come_in_the_order_of_their_best_chunks() -> None:
    apart = layout(headings=("a", "b", "c", "d"))

    assert texts(shown([hit(3), hit(0)], apart)) == [PARAGRAPHS[3], PARAGRAPHS[0]]


def test_the_room_is_for_hits_first_and_then_for_neighbours() -> None:
    enough = len(PARAGRAPHS[0]) + len(PARAGRAPHS[3])

    passages = shown([hit(0), hit(3)], layout(), tokens=enough)

    assert texts(passages) == [PARAGRAPHS[0], PARAGRAPHS[3]]


def test_the_best_chunk_is_shown_even_where_there_is_no_room() -> None:
    assert texts(shown([hit(0), hit(1)], layout(), tokens=0)) == [PARAGRAPHS[0]]


def test_neighbours_count_as_a_documents_share() -> None:
    (one,) = shown([hit(1)], layout(), most=2)

    assert one.hit.text == "\n\n".join(PARAGRAPHS[1:3])


def test_a_neighbour_that_repeats_what_is_shown_stays_away() -> None:
    twice = "Dues are paid.\n\nDUES ARE PAID."
    place = whole(twice, [Span(0, 0, 14, None, ()), Span(1, 16, 30, None, ())])

    assert texts(shown([passage("Dues are paid.")], place)) == ["Dues are paid."]


def test_only_the_chunks_around_those_that_were_found_are_read() -> None:
    spans = layout().spans

    assert around({0}, spans) == {0: (0, spans[1].start), 1: (spans[1].start, spans[2].start)}
    assert around({3}, spans)[3] == (spans[3].start, len(TEXT))
    assert around(set(), spans) == {}


def test_without_a_layout_chunks_stay_as_they_were_found() -> None:
    hits = [hit(0), hit(1)]

    assert merged(pieces(hits), {}) == tuple(hits)
    assert beside(pieces(hits), {}) == []


def test_no_more_is_shown_than_a_turn_reserves_for_its_passages() -> None:
    assert (room(1, 2_500), room(5, 2_500), room(50, 2_500)) == (384, 1_920, 2_500)


@given(st.permutations(range(4)), st.integers(1, 4), st.integers(0, 100), st.lists(st.sampled_from("ab"), min_size=4))
def test_a_passage_is_always_the_documents_text_and_none_overlap(
    order: Sequence[int], hits: int, tokens: int, headings: list[str]
) -> None:
    passages = shown([hit(at) for at in order[:hits]], layout(headings=headings[:4]), tokens=tokens, most=None)

    places = sorted((passage.hit.start, passage.hit.end) for passage in passages)
    assert all(passage.hit.text == TEXT[passage.hit.start : passage.hit.end] for passage in passages)
    assert all(end < start for (_, end), (start, _) in pairwise(places))
    assert passages[0].hit.chunk_id == hit(order[0]).hit.chunk_id
