"""Contract of AnswerRecords, and of answers that are made again: what each was made from, kept as long as it is."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from domain.accounts import Account, Principal
from domain.answers import Feedback, Rating
from domain.chat import AsOf, Place
from domain.errors import Conflict, IdempotencyKeyReused, NotFound, QuotaExhausted
from domain.names import new_id
from domain.runs import Command, Outcome, State
from domain.usage import Delivery, Purpose
from infra.sql.answers import MOST_RERUNS
from infra.sql.tables import documents
from tests.contract.records import HIT, PASSAGE, SOURCE, Records, a_call, a_colleague, a_rerun


async def answered(records: Records, principal: Principal, **fields: Any) -> Command:
    """A question that was condensed, found a passage and got an answer."""
    command = await records.ask(principal, **fields)
    turn = await records.turn(principal, command)
    await records.turns.note_query(principal, turn, "moorage meaning", flags=[], prompts={"condense": "d1"})
    found = [PASSAGE.hit, replace(HIT, chunk_id="beaten", ordinal=7, start=90, end=99, score=0.1)]
    await records.turns.note_passages(principal, turn, [PASSAGE], found=found, relevant=True)
    await records.answer(principal, command, a_call(command, cost=30), prompts={"answer": "d2"})
    return command


async def again(
    records: Records, principal: Principal, command: Command, key: str | None = None, digest: str = "d", **fields: Any
) -> Command:
    return await records.admissions.admit_rerun(principal, a_rerun(command, **fields), key, digest)


# --- the record ---------------------------------------------------------------------------------------------------


async def test_a_record_holds_what_the_answer_was_made_from(records: Records, me: Principal) -> None:
    command = await answered(records, me)
    condensed = a_call(command, purpose=Purpose.CONDENSE, at=command.created_at, cost=12)
    lost = a_call(command, delivery=Delivery.RETRIED, at=command.created_at)
    await records.usage.record(me, [condensed, lost, a_call(command, delivery=Delivery.OPEN)])

    record = await records.answers.record(me, command.workflow_id)

    assert record.turn == await records.turn(me, command)
    assert (record.collection, record.prompt_digest) == ("default", "digest")
    assert record.prompts == {"condense": "d1", "answer": "d2"}
    assert [(one.chunk_id, one.rank, one.chosen) for one in record.candidates] == [
        ("chunk", 1, True),
        ("beaten", 2, False),
    ]
    assert sorted((call.purpose, call.delivery, call.cost) for call in record.calls) == [
        ("chat", "delivered", 30),
        ("chat", "retried", None),
        ("condense", "delivered", 12),
    ]
    assert (record.feedback, record.reruns, record.earlier) == (None, (), None)


async def test_passages_of_what_is_not_live_are_gone(records: Records, me: Principal) -> None:
    uploaded = await records.upload(me)
    await records.publish(me, uploaded)
    assert uploaded.document_id
    kept = replace(PASSAGE, hit=replace(HIT, document_id=uploaded.document_id))
    older = replace(kept, hit=replace(kept.hit, version=0))
    command = await records.ask(me)
    turn = await records.turn(me, command)
    await records.turns.note_passages(me, turn, [kept, older, PASSAGE], relevant=True)
    before = await records.answers.record(me, command.workflow_id)

    async with records.database.write() as connection:
        gone = update(documents).where(documents.c.id == uploaded.document_id)
        await connection.execute(gone.values(live_version=None))

    after = await records.answers.record(me, command.workflow_id)
    assert before.gone == {(uploaded.document_id, 0), ("document", 1)}
    assert after.gone == before.gone | {(uploaded.document_id, 1)}
    assert [passage.hit.text for passage in after.turn.passages] == [HIT.text] * 3


async def test_the_last_feedback_counts(records: Records, me: Principal) -> None:
    command = await answered(records, me)

    await records.answers.rate(me, command.workflow_id, Rating.UP, "정확하다")
    first = (await records.answers.record(me, command.workflow_id)).feedback
    await records.answers.rate(me, command.workflow_id, Rating.DOWN, None)

    last = (await records.answers.record(me, command.workflow_id)).feedback
    assert first == Feedback(Rating.UP, "정확하다", first.at if first else command.created_at)
    assert last is not None
    assert (last.rating, last.comment) == (Rating.DOWN, None)


@pytest.mark.parametrize("whose", ["colleague", "stranger"])
async def test_a_foreign_answer_is_absent(
    records: Records, account: Account, me: Principal, elsewhere: Principal, whose: str
) -> None:
    command = await answered(records, me)
    other = a_colleague(account) if whose == "colleague" else elsewhere

    for attempt in (
        records.answers.record(other, command.workflow_id),
        records.answers.rate(other, command.workflow_id, Rating.DOWN, "theirs"),
        records.answers.exchanges(other, command.conversation_id or "", limit=10, cursor=None),
        records.turns.conversation(other, command.conversation_id or ""),
        again(records, other, command),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert (await records.answers.record(me, command.workflow_id)).feedback is None


# --- what was said ------------------------------------------------------------------------------------------------


async def test_exchanges_come_in_order_page_by_page(records: Records, me: Principal) -> None:
    first = await answered(records, me, message="one")
    for message in ("two", "three"):
        await answered(records, me, message=message, conversation_id=first.conversation_id)
    last = await records.ask(me, message="four", conversation_id=first.conversation_id)
    assert last.conversation_id

    pages = [await records.answers.exchanges(me, last.conversation_id, limit=3, cursor=None)]
    pages.append(await records.answers.exchanges(me, last.conversation_id, limit=3, cursor=pages[0].next_cursor))

    said = [one for page in pages for one in page.items]
    assert [one.question for one in said] == ["one", "two", "three", "four"]
    assert [one.answer for one in said] == ["A place [1]."] * 3 + [None]
    assert (said[0].sources, said[0].model_used, said[3].outcome) == ((SOURCE,), "model-1", None)
    assert pages[1].next_cursor is None


async def test_a_conversation_that_is_deleted_between_two_pages_does_not_seem_to_end(
    records: Records, me: Principal
) -> None:
    first = await answered(records, me, message="one")
    await answered(records, me, message="two", conversation_id=first.conversation_id)
    assert first.conversation_id
    page = await records.answers.exchanges(me, first.conversation_id, limit=1, cursor=None)

    await records.turns.forget(me, first.conversation_id)

    with pytest.raises(NotFound):
        await records.answers.exchanges(me, first.conversation_id, limit=1, cursor=page.next_cursor)


# --- again --------------------------------------------------------------------------------------------------------


async def test_as_of_then_a_rerun_has_the_query_and_the_passages_of_the_original(
    records: Records, me: Principal
) -> None:
    command = await answered(records, me)
    original = await records.turn(me, command)

    rerun = await records.turn(me, await again(records, me, command))

    assert (rerun.question, rerun.query, rerun.passages) == (original.question, original.query, original.passages)
    assert (rerun.relevant, rerun.collection_id, rerun.as_of) == (True, original.collection_id, AsOf.THEN)
    assert (rerun.outcome, rerun.answer, rerun.sources) == (None, None, ())
    assert (rerun.rerun_of, rerun.origin) == (command.workflow_id, Place(original.conversation_id, 1))
    candidates = (await records.answers.record(me, rerun.workflow_id)).candidates
    assert candidates == (await records.answers.record(me, command.workflow_id)).candidates


async def test_as_of_now_a_rerun_has_the_query_and_finds_passages_itself(records: Records, me: Principal) -> None:
    command = await answered(records, me)

    rerun = await records.turn(me, await again(records, me, command, as_of=AsOf.NOW))

    assert (rerun.query, rerun.passages, rerun.relevant) == ("moorage meaning", (), False)
    assert (await records.answers.record(me, rerun.workflow_id)).candidates == ()


async def test_a_rerun_leaves_the_conversation_as_it_was(records: Records, me: Principal) -> None:
    command = await answered(records, me)
    assert command.conversation_id
    listed = await records.turns.conversations(me, limit=10, cursor=None)

    rerun = await again(records, me, command)
    await records.answer(me, rerun)

    assert await records.turns.conversations(me, limit=10, cursor=None) == listed
    assert len(await records.turns.history(me, command.conversation_id, 10)) == 2
    following = await records.ask(me, conversation_id=command.conversation_id)
    assert following.seq == 2


async def test_nobody_asks_on_beside_a_rerun(records: Records, me: Principal) -> None:
    rerun = await again(records, me, await answered(records, me))

    with pytest.raises(NotFound):
        await records.ask(me, conversation_id=rerun.conversation_id)


async def test_a_rerun_of_a_rerun_stands_where_the_first_one_stood(records: Records, me: Principal) -> None:
    first = await answered(records, me, message="one")
    second = await answered(records, me, message="two", conversation_id=first.conversation_id)
    once = await again(records, me, second)
    await records.answer(me, once)

    twice = await records.turn(me, await again(records, me, once))

    assert twice.rerun_of == once.workflow_id
    assert twice.origin == Place(first.conversation_id or "", 2)
    past = await records.turns.past(me, twice.origin.conversation_id, twice.origin.seq)
    assert [(exchange.question, exchange.answer) for exchange in past.exchanges] == [("one", "A place [1].")]


async def test_a_record_lists_its_newest_reruns_and_they_know_their_original(records: Records, me: Principal) -> None:
    command = await answered(records, me)
    reruns = [await again(records, me, command) for _ in range(MOST_RERUNS + 1)]
    await records.answer(me, reruns[-1], a_call(reruns[-1], cost=70))

    record = await records.answers.record(me, command.workflow_id)
    newest = await records.answers.record(me, reruns[-1].workflow_id)

    assert [one.workflow_id for one in record.reruns] == [one.workflow_id for one in reruns[:0:-1]]
    assert (record.reruns[0].outcome, record.reruns[1].outcome) == (State.SUCCEEDED, None)
    assert newest.earlier is not None
    assert (newest.earlier.turn, newest.earlier.cost) == (record.turn, 30)


async def test_the_same_key_makes_one_rerun(records: Records, me: Principal) -> None:
    command = await answered(records, me)

    twins = await asyncio.gather(*(again(records, me, command, "key-1") for _ in range(5)))

    assert len({one.workflow_id for one in twins}) == 1
    assert len((await records.answers.record(me, command.workflow_id)).reruns) == 1
    with pytest.raises(IdempotencyKeyReused):
        await again(records, me, command, "key-1", "other")


async def test_a_known_key_is_answered_although_the_original_is_gone(records: Records, me: Principal) -> None:
    command = await answered(records, me)
    rerun = await again(records, me, command, "key-1")
    assert command.conversation_id
    await records.turns.forget(me, command.conversation_id)

    assert (await again(records, me, command, "key-1")).workflow_id == rerun.workflow_id


async def test_an_open_answer_is_not_made_again(records: Records, me: Principal) -> None:
    command = await records.ask(me)

    with pytest.raises(Conflict):
        await again(records, me, command)


async def test_a_failed_turn_is_made_again_as_of_now_only(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    await records.runs.close(me, command.workflow_id, Outcome(State.FAILED, "provider_auth", "answer"))

    with pytest.raises(Conflict):
        await again(records, me, command)
    assert (await again(records, me, command, as_of=AsOf.NOW)).outcome is None


async def test_a_rerun_reserves_what_its_original_may_take(records: Records, me: Principal) -> None:
    first = await answered(records, me, billable=True)
    await records.usage.settle(me, first.workflow_id)
    second = await answered(records, me, conversation_id=first.conversation_id, billable=True)
    month = first.created_at.strftime("%Y-%m")
    reserved = (await records.usage.month(me, month)).reserved
    await records.usage.settle(me, second.workflow_id)
    await answered(records, me, conversation_id=first.conversation_id)

    rerun = await again(records, me, second, billable=True)

    assert (await records.usage.month(me, month)).reserved == reserved > 0
    await records.runs.close(me, rerun.workflow_id, Outcome(State.CANCELLED))
    await records.usage.settle(me, rerun.workflow_id)
    assert (await records.usage.month(me, month)).reserved == 0


async def test_without_room_there_is_no_rerun_and_no_trace_of_one(records: Records) -> None:
    poor = (await records.newcomer(token_limit=3000)).principal
    command = await answered(records, poor)

    with pytest.raises(QuotaExhausted):
        await again(records, poor, command, billable=True)

    assert (await records.answers.record(poor, command.workflow_id)).reruns == ()
    assert len((await records.runs.commands(poor)).items) == 1


# --- the end ------------------------------------------------------------------------------------------------------


async def test_reruns_are_forgotten_with_their_conversation(records: Records, me: Principal) -> None:
    command = await answered(records, me)
    once = await again(records, me, command)
    await records.answer(me, once)
    twice = await again(records, me, once)
    await records.answers.rate(me, once.workflow_id, Rating.UP, "better")
    assert command.conversation_id

    workflow_ids = await records.turns.forget(me, command.conversation_id)

    assert workflow_ids == sorted(one.workflow_id for one in (command, once, twice))
    for one in (command, once, twice):
        with pytest.raises(NotFound):
            await records.answers.record(me, one.workflow_id)


async def test_a_rerun_is_forgotten_alone(records: Records, me: Principal) -> None:
    command = await answered(records, me)
    once = await again(records, me, command)
    await records.answer(me, once)
    twice = await again(records, me, once)
    assert once.conversation_id

    assert await records.turns.forget(me, once.conversation_id) == [once.workflow_id]

    assert (await records.answers.record(me, command.workflow_id)).reruns == ()
    assert (await records.answers.record(me, twice.workflow_id)).earlier is None


async def test_a_rerun_beside_a_conversation_that_goes_is_not_left_behind(records: Records, me: Principal) -> None:
    for _ in range(5):
        command = await answered(records, me)
        assert command.conversation_id

        admitted, _ = await asyncio.gather(
            again(records, me, command), records.turns.forget(me, command.conversation_id), return_exceptions=True
        )

        if isinstance(admitted, Command):
            with pytest.raises(NotFound):
                await records.turn(me, admitted)
        else:
            assert isinstance(admitted, NotFound)


async def test_an_unknown_answer_has_no_record(records: Records, me: Principal) -> None:
    with pytest.raises(NotFound):
        await records.answers.record(me, f"chat:{me.tenant}:{new_id()}:1")
