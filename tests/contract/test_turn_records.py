"""Contract of TurnRecords: whole turns in order, each answered once, seen by their account only."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from domain.accounts import Account, Principal
from domain.chat import Finish
from domain.errors import NotFound
from domain.names import new_id
from domain.runs import Command, Outcome, State
from domain.usage import Delivery, Purpose, month_of
from domain.window import READ, TURNS, Exchange, Past
from tests.contract.records import ANSWER, PASSAGE, SOURCE, Records, a_call, a_colleague


async def talk(records: Records, principal: Principal, *questions: str) -> list[Command]:
    """A conversation in which every question gets the answer `re: question`."""
    commands: list[Command] = []
    for question in questions:
        conversation_id = commands[0].conversation_id if commands else None
        commands.append(await records.ask(principal, message=question, conversation_id=conversation_id))
        await records.answer(principal, commands[-1], text=f"re: {question}")
    return commands


def conversation_of(command: Command) -> str:
    assert command.conversation_id
    return command.conversation_id


async def calls_of(records: Records, principal: Principal, command: Command) -> int:
    turn = await records.turn(principal, command)
    return sum(total.calls for total in (await records.usage.month(principal, month_of(turn.asked_at))).totals)


# --- one turn -----------------------------------------------------------------------------------------------------


async def test_a_turn_is_found_by_place_and_by_run(records: Records, me: Principal) -> None:
    command = await records.ask(me)

    turn = await records.turns.turn(me, conversation_of(command), 1)

    assert turn == await records.turns.turn_of_run(me, command.workflow_id)
    assert (turn.question, turn.asked_at) == ("What is a moorage?", command.created_at)


@pytest.mark.parametrize("whose", ["colleague", "stranger"])
async def test_a_foreign_turn_is_absent(
    records: Records, account: Account, me: Principal, elsewhere: Principal, whose: str
) -> None:
    command = (await talk(records, me, "Mine?"))[0]
    other = a_colleague(account) if whose == "colleague" else elsewhere
    turn = await records.turn(me, command)

    for attempt in (
        records.turns.turn(other, turn.conversation_id, 1),
        records.turns.turn_of_run(other, turn.workflow_id),
        records.turns.history(other, turn.conversation_id, 10),
        records.turns.forget(other, turn.conversation_id),
        records.turns.note_query(other, turn, "theirs", flags=[]),
        records.turns.note_summary(other, turn, "theirs", 1, after=0, calls=[]),
        records.turns.note_flag(other, turn, "theirs"),
        records.turns.commit_answer(other, turn, ANSWER, []),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await records.turns.past(other, turn.conversation_id, 2) == Past()
    assert (await records.turns.conversations(other, limit=10, cursor=None)).items == []
    assert await records.turn(me, command) == turn
    assert (await records.turns.past(me, turn.conversation_id, 2)).summary == ""


async def test_what_was_searched_for_is_noted(records: Records, me: Principal) -> None:
    command = await records.ask(me)

    await records.turns.note_query(
        me, await records.turn(me, command), "moorage meaning", flags=["condense_failed"], timings={"condense": 1.5}
    )

    turn = await records.turn(me, command)
    assert (turn.query, turn.flags, turn.timings) == ("moorage meaning", ("condense_failed",), {"condense": 1.5})


async def test_what_was_found_is_noted(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    bare = replace(PASSAGE, hit=replace(PASSAGE.hit, page=7, cosine=None))

    await records.turns.note_passages(me, await records.turn(me, command), [PASSAGE, bare], relevant=True)

    turn = await records.turn(me, command)
    assert (turn.passages, turn.relevant) == ((PASSAGE, bare), True)


async def test_notes_of_a_repeated_step_replace_each_other_and_timings_add_up(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    turn = await records.turn(me, command)
    await records.turns.note_query(me, turn, "one", flags=["a"], timings={"condense": 1.0})
    await records.turns.note_passages(me, turn, [PASSAGE, PASSAGE], relevant=True, timings={"search": 2.0})

    await records.turns.note_query(me, turn, "two", flags=["a"], timings={"condense": 3.0})
    await records.turns.note_passages(me, turn, [PASSAGE], relevant=True)

    turn = await records.turn(me, command)
    assert (turn.query, turn.flags, len(turn.passages)) == ("two", ("a",), 1)
    assert turn.timings == {"condense": 3.0, "search": 2.0}


async def test_nothing_is_noted_after_the_outcome(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    await records.runs.close(me, command.workflow_id, Outcome(State.CANCELLED))
    turn = await records.turn(me, command)

    await records.turns.note_query(me, turn, "late", flags=["late"], timings={"late": 1.0})
    await records.turns.note_passages(me, turn, [PASSAGE], relevant=True)

    assert await records.turn(me, command) == turn


# --- the answer ---------------------------------------------------------------------------------------------------


async def test_an_answer_is_read_as_it_was_committed(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    uncited = replace(SOURCE, index=2, page=3, cited=False, quote="따옴표")

    committed = await records.answer(me, command, sources=(SOURCE, uncited), flags=("marker_dropped",), estimated=True)

    assert committed == await records.turn(me, command)
    assert (committed.answer, committed.finish, committed.model_used) == ("A place [1].", Finish.STOP, "model-1")
    assert (committed.prompt_tokens, committed.completion_tokens, committed.estimated) == (90, 10, True)
    assert (committed.sources, committed.flags) == ((SOURCE, uncited), ("marker_dropped",))
    assert committed.outcome is State.SUCCEEDED
    assert committed.answered_at is not None
    assert committed.answered_at > committed.asked_at


async def test_an_answer_keeps_the_notes_before_it(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    turn = await records.turn(me, command)
    await records.turns.note_query(me, turn, "query", flags=["condense_failed"], timings={"condense": 1.0})

    committed = await records.turns.commit_answer(
        me, turn, replace(ANSWER, flags=("marker_dropped",)), [], timings={"answer": 2.0}
    )

    assert committed.query == "query"
    assert committed.flags == ("condense_failed", "marker_dropped")
    assert committed.timings == {"condense": 1.0, "answer": 2.0}


async def test_an_answer_closes_the_run_with_counts_only(records: Records, me: Principal) -> None:
    command = await records.ask(me)

    await records.answer(me, command)

    closed = await records.runs.command(me, command.workflow_id)
    assert closed.outcome is State.SUCCEEDED
    assert closed.result == {"finish_reason": "stop", "sources": 1, "prompt_tokens": 90, "completion_tokens": 10}


async def test_the_first_answer_stays_and_is_billed_once(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    first = await records.answer(me, command, a_call(command))

    second = await records.answer(me, command, a_call(command), text="Another answer.")

    assert second == first
    assert await calls_of(records, me, command) == 1


async def test_of_many_answers_at_once_one_is_committed(records: Records, me: Principal) -> None:
    command = await records.ask(me)

    answers = await asyncio.gather(*(records.answer(me, command, a_call(command), text=f"{n}") for n in range(10)))

    assert len({turn.answer for turn in answers}) == 1
    assert await calls_of(records, me, command) == 1


async def test_a_cancelled_turn_takes_no_answer(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    turn = await records.turn(me, command)
    await records.runs.close(me, command.workflow_id, Outcome(State.CANCELLED))

    stored = await records.turns.commit_answer(me, turn, ANSWER, [a_call(command)])

    assert (stored.outcome, stored.answer) == (State.CANCELLED, None)
    assert (await records.runs.command(me, command.workflow_id)).outcome is State.CANCELLED


async def test_an_answer_touches_its_conversation(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    before = (await records.turns.conversations(me, limit=1, cursor=None)).items[0]

    await records.answer(me, command)

    after = (await records.turns.conversations(me, limit=1, cursor=None)).items[0]
    assert after.updated_at > before.updated_at


# --- the past -----------------------------------------------------------------------------------------------------


async def test_the_past_is_the_newest_turns_oldest_first_with_their_sizes(records: Records, me: Principal) -> None:
    commands = await talk(records, me, "one", "two")

    past = await records.turns.past(me, conversation_of(commands[0]), 3)

    assert past == Past("", 0, (Exchange(1, "one", 10, "re: one", 8), Exchange(2, "two", 10, "re: two", 8)))


async def test_the_past_ends_before_the_turn_that_asks(records: Records, me: Principal) -> None:
    commands = await talk(records, me, "one", "two")

    past = await records.turns.past(me, conversation_of(commands[0]), 2)

    assert [exchange.question for exchange in past.exchanges] == ["one"]


async def test_unanswered_turns_are_not_in_the_past(records: Records, me: Principal) -> None:
    first = (await talk(records, me, "one"))[0]
    failed = await records.ask(me, message="two", conversation_id=first.conversation_id)
    await records.runs.close(me, failed.workflow_id, Outcome(State.FAILED, "provider_auth", "answer"))
    await records.ask(me, message="three", conversation_id=first.conversation_id)

    past = await records.turns.past(me, conversation_of(first), 4)

    assert [exchange.seq for exchange in past.exchanges] == [1]


async def test_of_the_past_only_what_may_be_needed_is_read(records: Records, me: Principal) -> None:
    commands = await talk(records, me, *map(str, range(1, READ + 3)))
    conversation, turn = conversation_of(commands[0]), await records.turn(me, commands[-1])

    without = await records.turns.past(me, conversation, READ + 3)
    await records.turns.note_summary(me, turn, "They counted.", READ, after=0, calls=[])
    summarized = await records.turns.past(me, conversation, READ + 3)

    assert [one.seq for one in without.exchanges] == list(range(3, READ + 3))
    assert [one.seq for one in summarized.exchanges] == list(range(READ + 3 - TURNS, READ + 3))


async def test_a_summary_is_kept_with_what_it_cost(records: Records, me: Principal) -> None:
    first = (await talk(records, me, "one"))[0]
    command = await records.ask(me, conversation_id=first.conversation_id, billable=True)
    call = a_call(command, purpose=Purpose.SUMMARY)

    turn = await records.turn(me, command)
    told = {"prompts": {"summarize": "abc"}, "timings": {"summarize": 2.0}}
    await records.turns.note_summary(me, turn, "하나라고 했다.", 1, after=0, calls=[call], **told)
    await records.turns.note_query(me, turn, "하나?", flags=[], prompts={"condense": "def"})

    past = await records.turns.past(me, turn.conversation_id, 2)
    assert (past.summary, past.until) == ("하나라고 했다.", 1)
    noted = await records.answers.record(me, command.workflow_id)
    assert (noted.turn.timings, noted.prompts) == ({"summarize": 2.0}, {"condense": "def", "summarize": "abc"})
    [line] = (await records.usage.lines(me, month_of(turn.asked_at), limit=10, cursor=None)).items
    assert (line.purpose, line.delivery) == (Purpose.SUMMARY, Delivery.DELIVERED)
    assert await records.usage.settle(me, command.workflow_id) == 100


async def test_of_two_summaries_of_the_same_turns_the_first_stays_and_nobody_pays_the_second(
    records: Records, me: Principal
) -> None:
    first = (await talk(records, me, "one"))[0]
    command = await records.ask(me, conversation_id=first.conversation_id, billable=True)
    turn = await records.turn(me, command)
    calls = [a_call(command, purpose=Purpose.SUMMARY) for _ in range(5)]

    await asyncio.gather(
        *(
            records.turns.note_summary(me, turn, f"summary {place}", 1, after=0, calls=[call])
            for place, call in enumerate(calls)
        )
    )

    lines = (await records.usage.lines(me, month_of(turn.asked_at), limit=10, cursor=None)).items
    deliveries = {line.op_id: line.delivery for line in lines}
    past = await records.turns.past(me, turn.conversation_id, 2)
    assert sorted(deliveries.values()) == [Delivery.DELIVERED, *[Delivery.RETRIED] * 4]
    assert deliveries[calls[int(past.summary.rpartition(" ")[2])].op_id] == Delivery.DELIVERED
    assert await records.usage.settle(me, command.workflow_id) == 100


async def test_a_summary_takes_the_place_of_the_one_it_was_made_from(records: Records, me: Principal) -> None:
    commands = await talk(records, me, "one", "two", "three")
    turn = await records.turn(me, commands[-1])
    await records.turns.note_summary(me, turn, "one", 1, after=0, calls=[])

    await records.turns.note_summary(me, turn, "one and two", 2, after=1, calls=[])
    await records.turns.note_summary(me, turn, "late", 1, after=0, calls=[])

    past = await records.turns.past(me, turn.conversation_id, 4)
    assert (past.summary, past.until) == ("one and two", 2)


async def test_what_a_turn_goes_without_is_flagged_once(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    turn = await records.turn(me, command)

    for _ in range(2):
        await records.turns.note_flag(me, turn, "summary_failed")

    assert (await records.turn(me, command)).flags == ("summary_failed",)


async def test_a_summary_goes_with_its_conversation(records: Records, me: Principal) -> None:
    command = (await talk(records, me, "one"))[0]
    turn = await records.turn(me, command)
    await records.turns.note_summary(me, turn, "a secret", 1, after=0, calls=[])

    await records.turns.forget(me, turn.conversation_id)

    assert await records.turns.past(me, turn.conversation_id, 2) == Past()
    with pytest.raises(NotFound):
        await records.turns.note_summary(me, turn, "a secret", 1, after=0, calls=[])


# --- conversations ------------------------------------------------------------------------------------------------


async def test_conversations_are_listed_newest_first_and_each_once(records: Records, me: Principal) -> None:
    started = [conversation_of(await records.ask(me)) for _ in range(5)]

    first = await records.turns.conversations(me, limit=3, cursor=None)
    second = await records.turns.conversations(me, limit=3, cursor=first.next_cursor)

    assert [found.conversation_id for found in [*first.items, *second.items]] == started[::-1]
    assert second.next_cursor is None


async def test_a_conversation_counts_its_turns(records: Records, me: Principal) -> None:
    await talk(records, me, "one", "two")

    [conversation] = (await records.turns.conversations(me, limit=10, cursor=None)).items

    assert (conversation.title, conversation.turns) == ("one", 2)


async def test_the_history_is_the_newest_messages_oldest_first(records: Records, me: Principal) -> None:
    commands = await talk(records, me, "one", "two")
    last = await records.ask(me, message="three", conversation_id=commands[0].conversation_id)

    history = await records.turns.history(me, conversation_of(last), 4)

    assert [utterance.text for utterance in history] == ["re: one", "two", "re: two", "three"]
    assert [utterance.speaker for utterance in history] == ["assistant", "user", "assistant", "user"]
    assert [u.workflow_id for u in history] == [
        commands[0].workflow_id,
        *[commands[1].workflow_id] * 2,
        last.workflow_id,
    ]
    assert sorted(utterance.at for utterance in history) == [utterance.at for utterance in history]


async def test_an_unknown_conversation_has_no_history(records: Records, me: Principal) -> None:
    with pytest.raises(NotFound):
        await records.turns.history(me, new_id(), 10)


async def test_a_forgotten_conversation_is_gone_and_named_by_its_runs(records: Records, me: Principal) -> None:
    commands = await talk(records, me, "one", "two")
    kept = (await talk(records, me, "kept"))[0]

    workflow_ids = await records.turns.forget(me, conversation_of(commands[0]))

    assert sorted(workflow_ids) == sorted(command.workflow_id for command in commands)
    with pytest.raises(NotFound):
        await records.turns.history(me, conversation_of(commands[0]), 10)
    for command in commands:
        with pytest.raises(NotFound):
            await records.turn(me, command)
    [left] = (await records.turns.conversations(me, limit=10, cursor=None)).items
    assert left.conversation_id == kept.conversation_id


async def test_forgetting_keeps_the_ledger_and_the_registry(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    turn = await records.answer(me, command, a_call(command))

    await records.turns.forget(me, conversation_of(command))

    totals = (await records.usage.month(me, month_of(turn.asked_at))).totals
    assert [(total.tokens, total.calls) for total in totals] == [(100, 1)]
    assert (await records.runs.command(me, command.workflow_id)).outcome is State.SUCCEEDED


async def test_a_forgotten_conversation_does_not_go_on(records: Records, me: Principal) -> None:
    command = (await talk(records, me, "one"))[0]
    await records.turns.forget(me, conversation_of(command))

    for attempt in (
        records.ask(me, conversation_id=command.conversation_id),
        records.turns.forget(me, conversation_of(command)),
    ):
        with pytest.raises(NotFound):
            await attempt


async def test_what_was_bought_for_a_forgotten_conversation_stays_bought(records: Records, me: Principal) -> None:
    command = await records.ask(me, billable=True)
    turn = await records.turn(me, command)
    await records.turns.forget(me, turn.conversation_id)
    condensed, said, answer = (a_call(command, op_id=new_id()) for _ in range(3))

    for attempt in (
        records.turns.note_query(me, turn, "berth", flags=[], calls=[condensed]),
        records.turns.keep_said(me, turn, ANSWER, [said]),
        records.turns.commit_answer(me, turn, ANSWER, [answer]),
    ):
        with pytest.raises(NotFound):
            await attempt

    assert await records.usage.settle(me, command.workflow_id) == 300


async def test_the_runs_of_a_conversation_are_known_before_it_is_forgotten(
    records: Records, me: Principal, elsewhere: Principal
) -> None:
    commands = await talk(records, me, "one", "two")
    conversation = conversation_of(commands[0])

    told = await records.turns.told(me, conversation)

    with pytest.raises(NotFound):
        await records.turns.told(elsewhere, conversation)
    assert told == await records.turns.forget(me, conversation)
    with pytest.raises(NotFound):
        await records.turns.told(me, conversation)


async def test_what_was_said_until_it_was_stopped_is_kept_once(records: Records, me: Principal) -> None:
    command = await records.ask(me, billable=True)
    turn = await records.turn(me, command)
    said = replace(ANSWER, text="A place", finish=Finish.CANCELLED, estimated=True)
    call = a_call(command, delivery=Delivery.ESTIMATED)

    for text in ("A place", "Another"):
        await records.turns.keep_said(me, turn, replace(said, text=text), [call])

    stored = await records.turn(me, command)
    assert (stored.outcome, stored.answer, stored.finish) == (State.CANCELLED, "A place", Finish.CANCELLED)
    assert (await records.runs.command(me, command.workflow_id)).outcome is State.CANCELLED
    assert await records.usage.settle(me, command.workflow_id) == 100


async def test_stopping_before_a_word_keeps_none(records: Records, me: Principal) -> None:
    command = await records.ask(me)

    await records.turns.keep_said(me, await records.turn(me, command), replace(ANSWER, text=""), [])

    stored = await records.turn(me, command)
    assert (stored.outcome, stored.answer) == (State.CANCELLED, None)


async def test_an_answer_is_not_taken_back_by_a_late_stop(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    turn = await records.turn(me, command)
    answered = await records.answer(me, command)

    await records.turns.keep_said(me, turn, replace(ANSWER, text="A pl"), [])

    assert await records.turn(me, command) == answered


@pytest.mark.parametrize(("end", "counted"), [(State.CANCELLED, 100), (State.FAILED, 0)])
async def test_a_reply_that_comes_when_the_turn_is_over_is_paid_by_who_cancelled(
    records: Records, me: Principal, end: State, counted: int
) -> None:
    command = await records.ask(me, billable=True)
    await records.runs.close(me, command.workflow_id, Outcome(end))
    await records.usage.settle(me, command.workflow_id)

    await records.answer(me, command, a_call(command))
    await records.usage.settle(me, command.workflow_id)

    assert (await records.usage.month(me, month_of(datetime.now(UTC)))).used == counted


async def test_an_open_call_shows_until_it_is_over(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    call = a_call(command, delivery=Delivery.OPEN)

    before = await records.usage.is_open(me, command.workflow_id)
    await records.usage.record(me, [call])
    during = await records.usage.is_open(me, command.workflow_id)
    await records.usage.record(me, [replace(call, delivery=Delivery.RETRIED)])

    assert (before, during, await records.usage.is_open(me, command.workflow_id)) == (False, True, False)
