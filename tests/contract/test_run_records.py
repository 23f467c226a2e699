"""Contract of RunRecords and Registry: what was admitted, who may see it, and how it ended, once."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta

import pytest

from domain.accounts import Account, Principal
from domain.errors import IdempotencyKeyReused, InvalidRequest, NotFound
from domain.runs import Command, Kind, Outcome, Replay, State
from infra.sql.database import Database
from tests.contract.records import Records, a_call, a_colleague

FAILED = Outcome(State.FAILED, "provider_auth", "answer", {"attempts": 3})
AT_ONCE = timedelta(0)


async def listed(records: Records, principal: Principal, **filters: object) -> list[str]:
    page = await records.runs.commands(principal, **filters)  # type: ignore[arg-type]
    return [command.workflow_id for command in page.items]


async def test_an_unknown_run_is_not_found(records: Records, me: Principal) -> None:
    with pytest.raises(NotFound):
        await records.runs.command(me, "chat:a:b:1")


async def test_a_chat_run_is_absent_for_a_colleague(records: Records, account: Account, me: Principal) -> None:
    command = await records.ask(me)

    with pytest.raises(NotFound):
        await records.runs.command(a_colleague(account), command.workflow_id)

    assert await listed(records, a_colleague(account)) == []


async def test_an_ingestion_is_seen_by_the_whole_tenant(records: Records, account: Account, me: Principal) -> None:
    command = await records.upload(me)

    assert await records.runs.command(a_colleague(account), command.workflow_id) == command
    assert await listed(records, a_colleague(account)) == [command.workflow_id]


async def test_another_tenants_runs_are_absent(records: Records, me: Principal, elsewhere: Principal) -> None:
    commands = [await records.ask(me), await records.upload(me)]

    for command in commands:
        with pytest.raises(NotFound):
            await records.runs.command(elsewhere, command.workflow_id)
    assert await listed(records, elsewhere) == []


async def test_runs_are_listed_newest_first(records: Records, me: Principal) -> None:
    commands = [await records.ask(me), await records.upload(me), await records.ask(me)]

    assert await listed(records, me) == [command.workflow_id for command in reversed(commands)]


async def test_pages_show_every_run_once(records: Records, me: Principal) -> None:
    admitted = {(await records.ask(me)).workflow_id for _ in range(7)}
    seen, cursor, sizes = [], None, []

    while True:
        page = await records.runs.commands(me, limit=3, cursor=cursor)
        seen += [command.workflow_id for command in page.items]
        sizes.append(len(page.items))
        cursor = page.next_cursor
        if cursor is None:
            break

    assert sizes == [3, 3, 1]
    assert len(seen) == 7
    assert set(seen) == admitted


async def test_runs_of_one_moment_are_paged_by_id(database: Database, me: Principal) -> None:
    records = Records.over(database, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    admitted = {(await records.ask(me)).workflow_id for _ in range(4)}

    first = await records.runs.commands(me, limit=2)
    second = await records.runs.commands(me, limit=2, cursor=first.next_cursor)

    assert {command.workflow_id for command in [*first.items, *second.items]} == admitted
    assert second.next_cursor is None


async def test_a_full_last_page_has_no_cursor(records: Records, me: Principal) -> None:
    await records.ask(me)

    assert (await records.runs.commands(me, limit=1)).next_cursor is None


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "항구",
        "AAAA",
        base64.urlsafe_b64encode(b"2026-01-01T00:00:00 " + b"a" * 32).decode(),
        base64.urlsafe_b64encode(b"0001-01-01T00:00:00+14:00 " + b"a" * 32).decode(),
        base64.urlsafe_b64encode(b"2026-01-01T00:00:00+00:00 ' OR 1=1").decode(),
    ],
)
async def test_a_malformed_cursor_is_an_invalid_request(records: Records, me: Principal, cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        await records.runs.commands(me, cursor=cursor)


async def test_runs_are_filtered_by_kind(records: Records, me: Principal) -> None:
    chat, ingestion = await records.ask(me), await records.upload(me)

    assert await listed(records, me, kind=Kind.CHAT) == [chat.workflow_id]
    assert await listed(records, me, kind=Kind.INGESTION) == [ingestion.workflow_id]


async def test_runs_are_filtered_by_outcome_and_a_state_that_is_not_final_means_open(
    records: Records, me: Principal
) -> None:
    failed, still_open = await records.ask(me), await records.ask(me)
    await records.runs.close(me, failed.workflow_id, FAILED)

    assert await listed(records, me, state=State.FAILED) == [failed.workflow_id]
    assert await listed(records, me, state=State.SUCCEEDED) == []
    assert await listed(records, me, state=State.RUNNING) == [still_open.workflow_id]


async def test_runs_are_filtered_by_age(records: Records, me: Principal) -> None:
    await records.ask(me)
    later = await records.ask(me)

    assert await listed(records, me, since=later.created_at) == [later.workflow_id]


async def test_a_run_is_closed_with_its_outcome(records: Records, me: Principal) -> None:
    command = await records.ask(me)

    assert await records.runs.close(me, command.workflow_id, FAILED)

    closed = await records.runs.command(me, command.workflow_id)
    assert (closed.outcome, closed.error_code, closed.error_step) == (State.FAILED, "provider_auth", "answer")
    assert closed.result == {"attempts": 3}
    assert closed.finished_at is not None
    assert closed.finished_at > command.created_at


async def test_the_first_outcome_stays(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    await records.runs.close(me, command.workflow_id, Outcome(State.CANCELLED))

    assert not await records.runs.close(me, command.workflow_id, FAILED)

    assert (await records.runs.command(me, command.workflow_id)).outcome is State.CANCELLED
    assert (await records.turn(me, command)).outcome is State.CANCELLED


async def test_of_many_outcomes_at_once_one_is_written(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    outcomes = [FAILED, Outcome(State.CANCELLED)] * 5

    written = await asyncio.gather(*(records.runs.close(me, command.workflow_id, outcome) for outcome in outcomes))

    assert written.count(True) == 1


async def test_closing_an_unknown_or_foreign_run_writes_nothing(
    records: Records, me: Principal, elsewhere: Principal
) -> None:
    command = await records.ask(me)

    assert not await records.runs.close(elsewhere, command.workflow_id, FAILED)
    assert not await records.runs.close(me, "chat:a:b:1", FAILED)

    assert (await records.runs.command(me, command.workflow_id)).outcome is None


async def test_a_failed_chat_run_fails_its_turn(records: Records, me: Principal) -> None:
    command = await records.ask(me)

    await records.runs.close(me, command.workflow_id, FAILED)

    turn = await records.turn(me, command)
    assert (turn.outcome, turn.error_code, turn.answer) == (State.FAILED, "provider_auth", None)


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
async def test_a_failed_ingestion_fails_its_version(records: Records, me: Principal, state: State) -> None:
    command = await records.upload(me)

    await records.runs.close(me, command.workflow_id, Outcome(state, "corrupt_file", "parse"))

    document = await records.documents.document(me, command.document_id or "")
    assert document.pending is not None
    assert document.pending.state is state


# --- the sweeper's view -----------------------------------------------------------------------------------------


async def swept(records: Records, older_than: timedelta = AT_ONCE, limit: int = 100) -> list[Command]:
    return await records.runs.open_commands(older_than, limit)


async def test_open_commands_of_all_tenants_are_listed(records: Records, me: Principal, elsewhere: Principal) -> None:
    commands = [await records.ask(me), await records.upload(elsewhere)]

    assert [command.workflow_id for command in await swept(records)] == [command.workflow_id for command in commands]


async def test_a_command_with_an_outcome_is_not_open(records: Records, me: Principal) -> None:
    command = await records.ask(me)
    await records.runs.close(me, command.workflow_id, FAILED)

    assert await swept(records) == []


async def test_a_young_command_is_left_to_its_request(records: Records, me: Principal) -> None:
    await records.ask(me)

    assert await swept(records, older_than=timedelta(seconds=30)) == []


async def test_what_was_looked_at_longest_ago_comes_first(records: Records, me: Principal) -> None:
    one, two, three = [(await records.ask(me)).workflow_id for _ in range(3)]

    rounds = [[command.workflow_id for command in await swept(records, limit=2)] for _ in range(3)]

    assert rounds == [[one, two], [three, one], [two, one]]  # equally long ago: the older command


async def test_an_open_command_says_how_to_start_its_run(records: Records, me: Principal) -> None:
    admitted = await records.upload(me)

    [command] = await swept(records)

    assert command.launch == admitted.launch


# --- parked and replayed ----------------------------------------------------------------------------------------


async def test_a_parked_run_says_where_and_is_found_by_that_state(records: Records, me: Principal) -> None:
    stopped, going = await records.upload(me), await records.upload(me)

    assert await records.runs.park(me, stopped.workflow_id, "embed", "provider_auth")

    parked = (await records.runs.command(me, stopped.workflow_id)).parked
    assert parked is not None
    assert (parked.step, parked.code) == ("embed", "provider_auth")
    assert await listed(records, me, state=State.PARKED) == [stopped.workflow_id]
    assert await listed(records, me, state=State.RUNNING) == [going.workflow_id]


async def test_a_run_that_ended_is_parked_no_more_and_never_again(records: Records, me: Principal) -> None:
    command = await records.upload(me)
    await records.runs.park(me, command.workflow_id, "embed", "provider_auth")
    await records.runs.close(me, command.workflow_id, Outcome(State.CANCELLED))

    assert not await records.runs.park(me, command.workflow_id, "embed", "provider_auth")
    assert (await records.runs.command(me, command.workflow_id)).parked is None


async def test_resuming_what_was_parked_anew_meanwhile_changes_nothing(records: Records, me: Principal) -> None:
    command = await records.upload(me)
    await records.runs.park(me, command.workflow_id, "embed", "provider_auth")
    seen = (await records.runs.command(me, command.workflow_id)).parked
    await records.runs.park(me, command.workflow_id, "index", "internal")

    assert not await records.runs.resume(me, command.workflow_id, seen)
    assert await records.runs.resume(me, command.workflow_id)
    assert not await records.runs.resume(me, command.workflow_id)


async def test_an_outcome_is_taken_back_once(records: Records, me: Principal) -> None:
    command = await records.upload(me)
    await records.runs.close(me, command.workflow_id, Outcome(State.FAILED, "no_text", "embed"))

    taken = await asyncio.gather(*(records.runs.reopen(me, command.workflow_id, "run-1") for _ in range(5)))

    reopened = await records.runs.command(me, command.workflow_id)
    assert sorted(taken) == [False] * 4 + [True]
    assert (reopened.outcome, reopened.error_code, reopened.finished_at) == (None, None, None)
    assert reopened.replayed_run == "run-1"
    assert (await records.documents.version(me, command.document_id or "", 1)).outcome is None


async def test_neither_answers_nor_ready_documents_are_reopened(records: Records, me: Principal) -> None:
    chat, ready = await records.ask(me), await records.upload(me)
    await records.runs.close(me, chat.workflow_id, FAILED)
    await records.publish(me, ready)

    assert not await records.runs.reopen(me, chat.workflow_id, "run-1")
    assert not await records.runs.reopen(me, ready.workflow_id, "run-1")


async def test_a_strangers_run_is_neither_parked_nor_reopened(
    records: Records, me: Principal, elsewhere: Principal
) -> None:
    command = await records.upload(me)
    failed = await records.upload(me)
    await records.runs.close(me, failed.workflow_id, Outcome(State.FAILED, "no_text", "embed"))

    assert not await records.runs.park(elsewhere, command.workflow_id, "embed", "provider_auth")
    assert not await records.runs.reopen(elsewhere, failed.workflow_id, "run-1")


async def test_a_replay_is_about_what_had_stopped_before_it(records: Records, me: Principal) -> None:
    parked, failed, _going = [await records.upload(me) for _ in range(3)]
    await records.runs.park(me, parked.workflow_id, "embed", "provider_auth")
    await records.runs.close(me, failed.workflow_id, Outcome(State.FAILED, "no_text", "embed"))
    later, earlier = datetime.now(UTC) + timedelta(seconds=1), datetime.now(UTC) - timedelta(hours=1)

    async def about(states: tuple[str, ...], before: datetime, since: datetime | None = None) -> set[str]:
        asked = Replay(me.tenant, me.account, "n", states, before.isoformat(), since and since.isoformat())
        return {command.workflow_id for command in (await records.runs.replayable(me, asked, 10, None)).items}

    assert await about(("parked", "failed"), later) == {parked.workflow_id, failed.workflow_id}
    assert await about(("parked",), later, earlier) == {parked.workflow_id}
    assert await about(("parked", "failed"), earlier) == set()
    assert await about(("parked", "failed"), later, later) == set()


async def test_the_same_key_admits_one_replay(records: Records, me: Principal) -> None:
    asked = ([State.PARKED], None)

    first = await records.admissions.admit_replay(me, *asked, "key", "digest")
    again = await records.admissions.admit_replay(me, *asked, "key", "digest")

    assert first.workflow_id == again.workflow_id
    assert first.launch.workflow == "ReplayRuns"
    assert first.launch.input == again.launch.input
    with pytest.raises(IdempotencyKeyReused):
        await records.admissions.admit_replay(me, *asked, "key", "other")


async def test_what_ended_with_a_reservation_or_uncounted_calls_is_unsettled(records: Records, me: Principal) -> None:
    reserved, bought = await records.ask(me, billable=True), await records.upload(me)
    await records.ask(me, billable=True)
    await records.usage.record(me, [a_call(bought)])
    for command in (reserved, bought):
        await records.runs.close(me, command.workflow_id, FAILED)

    before = {command.workflow_id for command in await records.runs.unsettled(AT_ONCE, 100)}
    for command in (reserved, bought):
        await records.usage.settle(me, command.workflow_id)
    after = {command.workflow_id for command in await records.runs.unsettled(AT_ONCE, 100)}

    assert before >= {reserved.workflow_id, bought.workflow_id}
    assert not after & {reserved.workflow_id, bought.workflow_id}
