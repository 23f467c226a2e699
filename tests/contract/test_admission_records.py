"""Contract of Admissions: one transaction before any work, once per key, never beyond the budget."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from domain.accounts import Account, Principal
from domain.documents import OnDuplicate
from domain.errors import (
    DimensionMismatch,
    DuplicateDocument,
    IdempotencyKeyReused,
    MoorageError,
    NotFound,
    QuotaExhausted,
)
from domain.names import chat_run, ingest_run, new_id
from domain.runs import Command, Kind, Outcome, State
from domain.usage import TURNS_END, month_of, reservation
from domain.window import HISTORY_TOKENS, SUMMARY_TOKENS, longest_message
from infra.sql.admission import SqlAdmissions
from infra.sql.database import Database
from infra.sql.tables import accounts
from tests.contract.records import ASK, GENERATION, OTHER_GENERATION, Records, a_colleague, a_file

COST = reservation(question=ASK.question_tokens, window=0, k=ASK.k, use_rag=True, max_tokens=ASK.max_tokens)


async def reserved(records: Records, principal: Principal) -> int:
    return (await records.usage.month(principal, month_of(datetime.now(UTC)))).reserved


async def conversations(records: Records, principal: Principal) -> int:
    return len((await records.turns.conversations(principal, limit=100, cursor=None)).items)


# --- turns ----------------------------------------------------------------------------------------------------


async def test_a_turn_is_admitted_with_its_command(records: Records, account: Account, me: Principal) -> None:
    command = await records.ask(me)

    assert command.kind is Kind.CHAT
    assert command.conversation_id is not None
    assert command.workflow_id == chat_run(me.tenant, command.conversation_id, 1)
    assert (command.tenant_id, command.account_id, command.seq) == (me.tenant, account.account_id, 1)
    assert await records.runs.command(me, command.workflow_id) == command


async def test_a_turn_holds_what_was_asked(records: Records, me: Principal) -> None:
    document = (await records.upload(me)).document_id
    asked = {
        "message": "부두란 무엇인가?",
        "model": "model-2",
        "temperature": 0.25,
        "max_tokens": 7,
        "document_ids": (document,),
        "filters": {"kind": ['kind="항구"', "kind=1"]},
        "k": 9,
    }

    turn = await records.turn(me, await records.ask(me, **asked))

    assert (turn.question, turn.model, turn.temperature, turn.max_tokens) == ("부두란 무엇인가?", "model-2", 0.25, 7)
    assert (turn.document_ids, turn.filters, turn.k) == (asked["document_ids"], asked["filters"], 9)
    assert turn.collection_id == (await records.documents.collection(me, "default")).collection_id
    assert (turn.outcome, turn.answer, turn.passages, turn.sources, turn.flags) == (None, None, (), (), ())


async def test_the_first_question_names_the_conversation(records: Records, me: Principal) -> None:
    await records.ask(me, message="What  is\n" + "long " * 100)

    [conversation] = (await records.turns.conversations(me, limit=10, cursor=None)).items

    assert conversation.title.startswith("What is long long")
    assert len(conversation.title) <= 80


async def test_the_same_key_and_digest_give_the_same_command(records: Records, me: Principal) -> None:
    first = await records.ask(me, "key")

    assert await records.ask(me, "key") == first
    assert await conversations(records, me) == 1


async def test_the_same_key_with_another_digest_is_a_conflict(records: Records, me: Principal) -> None:
    await records.ask(me, "key", digest="one")

    with pytest.raises(IdempotencyKeyReused):
        await records.ask(me, "key", digest="two")


async def test_the_key_is_looked_at_before_anything_else(records: Records, me: Principal) -> None:
    first = await records.ask(me, "key")

    assert await records.ask(me, "key", collection="unknown", conversation_id=new_id()) == first


async def test_a_key_belongs_to_its_account(records: Records, me: Principal, elsewhere: Principal) -> None:
    mine = await records.ask(me, "key", digest="one")

    assert (await records.ask(elsewhere, "key", digest="two")).workflow_id != mine.workflow_id


async def test_requests_without_a_key_are_all_admitted(records: Records, me: Principal) -> None:
    commands = [await records.ask(me) for _ in range(3)]

    assert len({command.workflow_id for command in commands}) == 3


async def test_fifty_requests_at_once_with_one_key_make_one_turn(records: Records, me: Principal) -> None:
    commands = await asyncio.gather(*(records.ask(me, "key", billable=True) for _ in range(50)))

    assert len({command.workflow_id for command in commands}) == 1
    assert await conversations(records, me) == 1
    assert await reserved(records, me) == COST


async def test_two_processes_with_one_key_make_one_turn(records: Records, database_url: str, me: Principal) -> None:
    other = await Database.open(database_url)

    both = (records, Records.over(other))
    commands = await asyncio.gather(*(which.ask(me, "key") for which in both * 10))

    assert len({command.workflow_id for command in commands}) == 1
    await other.close()


async def test_turns_of_a_conversation_are_numbered_without_gaps(records: Records, me: Principal) -> None:
    first = await records.ask(me)

    more = await asyncio.gather(*(records.ask(me, conversation_id=first.conversation_id) for _ in range(20)))

    assert sorted(command.seq or 0 for command in more) == list(range(2, 22))
    assert {command.conversation_id for command in more} == {first.conversation_id}


async def test_a_refused_turn_leaves_no_gap(records: Records, me: Principal) -> None:
    first = await records.ask(me)
    with pytest.raises(QuotaExhausted):
        await records.ask(me, conversation_id=first.conversation_id, billable=True, max_tokens=10**9)

    second = await records.ask(me, conversation_id=first.conversation_id)

    assert second.seq == 2


@pytest.mark.parametrize("whose", ["colleague", "stranger", "nobody"])
async def test_only_ones_own_conversation_goes_on(
    records: Records, account: Account, me: Principal, elsewhere: Principal, whose: str
) -> None:
    mine = (await records.ask(me)).conversation_id
    conversation = new_id() if whose == "nobody" else mine
    principal = {"colleague": a_colleague(account), "stranger": elsewhere, "nobody": me}[whose]

    with pytest.raises(NotFound):
        await records.ask(principal, conversation_id=conversation)


async def test_a_search_needs_an_existing_collection(records: Records, me: Principal) -> None:
    with pytest.raises(NotFound):
        await records.ask(me, collection="unknown")

    assert await conversations(records, me) == 0


async def test_without_retrieval_no_collection_is_needed(records: Records, me: Principal) -> None:
    turn = await records.turn(me, await records.ask(me, collection="unknown", use_rag=False))

    assert turn.collection_id is None


async def test_one_foreign_document_refuses_the_whole_turn(
    records: Records, me: Principal, elsewhere: Principal
) -> None:
    mine, foreign = (await records.upload(me)).document_id, (await records.upload(elsewhere)).document_id

    with pytest.raises(NotFound):
        await records.ask(me, billable=True, document_ids=(mine, foreign))

    assert await conversations(records, me) == 0
    assert await reserved(records, me) == 0


async def test_a_document_named_twice_is_one_document(records: Records, me: Principal) -> None:
    document = (await records.upload(me)).document_id

    turn = await records.turn(me, await records.ask(me, document_ids=(document, document)))

    assert turn.document_ids == (document, document)


# --- budgets --------------------------------------------------------------------------------------------------


async def test_a_billable_turn_reserves_its_upper_bound(records: Records, me: Principal) -> None:
    await records.ask(me, billable=True)

    assert await reserved(records, me) == COST


async def test_a_local_turn_reserves_nothing(records: Records, me: Principal) -> None:
    await records.ask(me, max_tokens=10**9)

    assert await reserved(records, me) == 0


async def test_a_hundred_turns_at_once_never_exceed_a_budget_for_twenty_five(records: Records) -> None:
    me = (await records.newcomer(token_limit=25 * COST)).principal

    results = await asyncio.gather(*(records.ask(me, billable=True) for _ in range(100)), return_exceptions=True)

    assert Counter(type(result) for result in results) == {Command: 25, QuotaExhausted: 75}
    assert await reserved(records, me) == 25 * COST
    assert await conversations(records, me) == 25


async def test_two_processes_share_one_budget(records: Records, database_url: str) -> None:
    me = (await records.newcomer(token_limit=10 * COST)).principal
    other = await Database.open(database_url)
    both = (records, Records.over(other))

    results = await asyncio.gather(*(which.ask(me, billable=True) for which in both * 10), return_exceptions=True)

    assert Counter(type(result) for result in results) == {Command: 10, QuotaExhausted: 10}
    await other.close()


async def test_a_budget_may_be_used_up_to_its_last_token(records: Records) -> None:
    exact = (await records.newcomer(token_limit=COST)).principal
    short = (await records.newcomer(token_limit=COST - 1)).principal

    await records.ask(exact, billable=True)

    with pytest.raises(QuotaExhausted):
        await records.ask(short, billable=True)


async def test_an_exhausted_budget_says_when_the_next_month_begins(database: Database) -> None:
    at = datetime(2026, 12, 31, 23, 0, tzinfo=UTC)
    records = Records.over(database, clock=lambda: at)
    me = (await records.newcomer(token_limit=1)).principal

    with pytest.raises(QuotaExhausted) as raised:
        await records.ask(me, billable=True)

    assert raised.value.retry_after == timedelta(hours=1)


async def test_a_turn_that_is_over_keeps_nobody_out_though_it_is_not_settled_yet(records: Records) -> None:
    owner = await records.newcomer(token_limit=COST)
    me = owner.principal
    first = await records.ask(me, billable=True)
    await records.answer(me, first)  # and nothing was bought for it

    await records.ask(me, billable=True)

    with pytest.raises(QuotaExhausted):  # the second one is running
        await records.ask(me, billable=True)


async def test_a_colleagues_turn_that_is_over_keeps_nobody_out_either(records: Records) -> None:
    owner = await records.newcomer(token_limit=COST)
    colleague = (await records.colleague(owner.principal)).principal
    await give_both_the_whole_budget(records, owner.tenant_id, COST)
    await records.answer(colleague, await records.ask(colleague, billable=True))

    await records.ask(owner.principal, billable=True)


async def test_who_waits_for_running_turns_may_come_back_soon(records: Records) -> None:
    me = (await records.newcomer(token_limit=COST)).principal
    await records.ask(me, billable=True)

    with pytest.raises(QuotaExhausted) as raised:
        await records.ask(me, billable=True)

    assert raised.value.retry_after == TURNS_END
    assert f"may take {COST} tokens, and 0 are left" in raised.value.detail


async def test_a_new_month_has_a_new_budget(database: Database) -> None:
    december, january = datetime(2026, 12, 31, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    me = (await Records.over(database).newcomer(token_limit=COST)).principal
    await Records.over(database, clock=lambda: december).ask(me, billable=True)

    await Records.over(database, clock=lambda: january).ask(me, billable=True)

    months = [await Records.over(database).usage.month(me, month) for month in ("2026-12", "2027-01")]
    assert [month.reserved for month in months] == [COST, COST]


async def test_a_follow_up_also_reserves_the_window(records: Records, me: Principal) -> None:
    first = await records.ask(me, question_tokens=10)
    await records.answer(me, first, answer_tokens=8)
    second = await records.ask(me, conversation_id=first.conversation_id, question_tokens=20)

    await records.ask(me, conversation_id=second.conversation_id, billable=True)

    window = 10 + 8 + 20 + longest_message(HISTORY_TOKENS)  # the second turn is still open
    assert await reserved(records, me) == reservation(question=10, window=window, k=5, use_rag=True, max_tokens=1000)


async def test_failed_turns_and_those_beyond_the_window_reserve_nothing(records: Records, me: Principal) -> None:
    first = await records.ask(me, question_tokens=1_000)
    await records.answer(me, first, answer_tokens=5_000)
    for _ in range(5):
        later = await records.ask(me, conversation_id=first.conversation_id, question_tokens=1)
        await records.answer(me, later, answer_tokens=1)
    failed = await records.ask(me, conversation_id=first.conversation_id, question_tokens=500)
    await records.runs.close(me, failed.workflow_id, Outcome(State.FAILED, "provider_auth", "answer"))

    await records.ask(me, conversation_id=first.conversation_id, billable=True)

    sizes = {"window": 5 * 2, "summary": SUMMARY_TOKENS, "summarized": HISTORY_TOKENS}  # of the first turn
    expected = reservation(question=10, k=5, use_rag=True, max_tokens=1000, **sizes)
    assert await reserved(records, me) == expected


async def test_a_turn_that_needs_no_new_summary_reserves_the_one_there_is(records: Records, me: Principal) -> None:
    first = await records.ask(me, question_tokens=1_000)
    turn = await records.answer(me, first, answer_tokens=5_000)
    await records.turns.note_summary(me, turn, "It was long.", 1, after=0, calls=[])

    await records.ask(me, conversation_id=first.conversation_id, billable=True)

    sizes = {"window": 2 * longest_message(HISTORY_TOKENS), "summary": SUMMARY_TOKENS}
    assert await reserved(records, me) == reservation(question=10, k=5, use_rag=True, max_tokens=1000, **sizes)


async def test_a_smaller_window_reserves_less(database: Database) -> None:
    records = replace(Records.over(database), admissions=SqlAdmissions(database, history_tokens=200))
    me = (await records.newcomer()).principal
    first = await records.ask(me, question_tokens=1_000)
    await records.answer(me, first, answer_tokens=5_000)

    await records.ask(me, conversation_id=first.conversation_id, billable=True)

    assert await reserved(records, me) == reservation(question=10, window=200, k=5, use_rag=True, max_tokens=1000)


# --- uploads --------------------------------------------------------------------------------------------------


async def test_an_upload_is_admitted_with_document_version_and_command(records: Records, me: Principal) -> None:
    upload = a_file()

    command, document_id = await records.admissions.admit_upload(me, upload, GENERATION, None, "d")

    assert command is not None
    assert document_id == command.document_id == upload.document_id
    assert (command.kind, command.version) == (Kind.INGESTION, 1)
    assert command.workflow_id == ingest_run(me.tenant, upload.document_id, 1)
    assert await records.runs.command(me, command.workflow_id) == command


async def test_a_version_holds_what_was_uploaded(records: Records, me: Principal) -> None:
    upload = a_file()
    await records.admissions.admit_upload(me, upload, GENERATION, None, "d")

    version = await records.documents.version(me, upload.document_id, 1)

    assert (version.filename, version.title, version.media_type) == (upload.filename, upload.title, upload.media_type)
    assert version.metadata == upload.metadata
    assert [type(value) for value in version.metadata.values()] == [int, bool, float, str]
    assert version.generation == GENERATION.name


async def test_an_upload_makes_an_unknown_collection(records: Records, me: Principal) -> None:
    await records.upload(me, collection="새 모음")

    assert (await records.documents.collection(me, "새 모음")).generation == GENERATION.name


async def test_uploads_at_once_into_a_new_collection_make_one(records: Records, me: Principal) -> None:
    await asyncio.gather(*(records.upload(me, collection="new") for _ in range(10)))

    assert sorted(found.name for found in await records.documents.collections(me)) == ["default", "new"]


async def test_the_first_upload_decides_the_generation(records: Records, me: Principal) -> None:
    before = await records.documents.collection(me, "default")

    await records.upload(me)

    assert before.generation == ""
    assert await records.documents.generation(me, before.collection_id) == GENERATION.name


async def test_another_generation_is_refused(records: Records, me: Principal) -> None:
    await records.upload(me)

    with pytest.raises(DimensionMismatch):
        await records.admissions.admit_upload(me, a_file(), OTHER_GENERATION, None, "d")

    assert len((await records.documents.documents(me)).items) == 1


async def test_the_same_bytes_again_point_to_the_document_that_exists(records: Records, me: Principal) -> None:
    first = await records.upload(me, sha256="s")

    assert await records.offer(me, sha256="s") == (None, first.document_id)
    assert len((await records.documents.documents(me)).items) == 1


async def test_the_same_bytes_are_found_when_they_are_live_too(records: Records, me: Principal) -> None:
    first = await records.upload(me, sha256="s")
    await records.publish(me, first)

    assert await records.offer(me, sha256="s") == (None, first.document_id)


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
async def test_a_failed_twin_does_not_count(records: Records, me: Principal, state: State) -> None:
    first = await records.upload(me, sha256="s")
    await records.runs.close(me, first.workflow_id, Outcome(state, "corrupt_file", "parse"))

    again = await records.upload(me, sha256="s")

    assert again.document_id != first.document_id


async def test_a_twin_in_another_collection_or_tenant_does_not_count(
    records: Records, me: Principal, elsewhere: Principal
) -> None:
    commands = [
        await records.upload(me, sha256="s"),
        await records.upload(me, sha256="s", collection="other"),
        await records.upload(elsewhere, sha256="s"),
    ]

    assert len({command.document_id for command in commands}) == 3


async def test_a_duplicate_can_be_refused(records: Records, me: Principal) -> None:
    await records.upload(me, sha256="s")

    with pytest.raises(DuplicateDocument):
        await records.offer(me, sha256="s", on_duplicate=OnDuplicate.REJECT)


async def test_a_duplicate_can_be_wanted(records: Records, me: Principal) -> None:
    first = await records.upload(me, sha256="s")

    assert (await records.upload(me, sha256="s", on_duplicate=OnDuplicate.NEW)).document_id != first.document_id


async def test_of_equal_uploads_at_once_one_is_admitted(records: Records, me: Principal) -> None:
    offers = await asyncio.gather(*(records.offer(me, sha256="s") for _ in range(20)))

    assert len([command for command, _ in offers if command]) == 1
    assert len({document_id for _, document_id in offers}) == 1


async def test_a_repeated_upload_with_its_key_is_the_same_run_though_now_a_duplicate(
    records: Records, me: Principal
) -> None:
    upload = a_file(on_duplicate=OnDuplicate.REJECT)
    first = await records.admissions.admit_upload(me, upload, GENERATION, "key", "d")

    again = await records.admissions.admit_upload(me, replace(upload, document_id=new_id()), GENERATION, "key", "d")

    assert again == first


async def test_a_key_of_a_turn_is_no_key_of_an_upload(records: Records, me: Principal) -> None:
    await records.ask(me, "key", digest="turn")

    with pytest.raises(IdempotencyKeyReused):
        await records.offer(me, "key", digest="upload")


async def test_a_refused_upload_leaves_no_collection(records: Records, me: Principal) -> None:
    await records.upload(me, document_id="a" * 32)

    with pytest.raises(MoorageError):
        await records.upload(me, document_id="a" * 32, collection="new")

    assert [found.name for found in await records.documents.collections(me)] == ["default"]


async def test_reservations_of_two_accounts_at_once_never_exceed_the_tenants_budget(records: Records) -> None:
    owner = await records.newcomer(token_limit=10 * COST)
    member = await records.colleague(owner.principal)
    await give_both_the_whole_budget(records, owner.tenant_id, 10 * COST)

    asked = [records.ask(who.principal, billable=True, max_tokens=1000) for who in [owner, member] * 25]
    results = await asyncio.gather(*asked, return_exceptions=True)

    assert len([found for found in results if isinstance(found, Command)]) == 10
    assert len([found for found in results if isinstance(found, QuotaExhausted)]) == 40
    months = [await records.usage.month(who.principal, month_of(datetime.now(UTC))) for who in (owner, member)]
    assert sum(month.reserved for month in months) == 10 * COST


async def give_both_the_whole_budget(records: Records, tenant: str, tokens: int) -> None:
    """What no verb of ours would do; so that only the tenant's budget can refuse."""
    async with records.database.write() as connection:
        await connection.execute(update(accounts).where(accounts.c.tenant_id == tenant).values(token_limit=tokens))
