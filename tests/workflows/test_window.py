"""Long conversations through the real workflow: what is sent stays bounded, nothing is forgotten or out of order."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from domain.accounts import Principal
from domain.usage import Delivery, ProviderCall, Purpose, cautious, month_of
from domain.window import CUT, HISTORY_TOKENS, SUMMARY_TOKENS, TURNS, longest_message
from tests.platform import Platform, StartPlatform, User
from tests.provider.calls import Call
from tests.provider.script import Ask, Fault
from tests.provider.server import ScriptedProvider
from tests.provider.words import CONDENSE, SUMMARIZE

LAST = 60
FACT = "고양이 Meerkatze 12.5m"  # of the second turn
TOGETHER = range(21, 31)  # turns that two clients ask at once, each its next when it has an answer
FLUSHED = 33  # before this turn Redis forgets
LONG = {"en": "The tide came in and the tide went out again. ", "ko": "밀물이 들어오고 다시 썰물이 나갔다. "}
EARLIER = re.compile(r"([0-9a-f]{8}) earlier\n(.*)\n\1 now\n\n(.*)", re.DOTALL)


@dataclass
class Talk:
    """What was asked, by seq, and what the provider and the ledger know of it."""

    asked: dict[int, str] = field(default_factory=dict)
    answered: dict[int, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    lines: list[ProviderCall] = field(default_factory=list)
    used: int = 0
    logs: list[Any] = field(default_factory=list)

    def keep(self, question: str, answer: dict[str, Any]) -> None:
        seq = int(answer["workflow_id"].rpartition(":")[2])
        self.asked[seq], self.answered[seq] = question, answer["response"]["content"]

    def of(self, purpose: Purpose) -> list[Call]:
        return [call for call in self.calls if purpose_of(call.messages) is purpose]


@dataclass(frozen=True)
class Seen:
    """What an answer's prompt held of the conversation."""

    summary: str
    window: list[str]
    question: str


def purpose_of(messages: Sequence[dict[str, Any]]) -> Purpose:
    rules = str(messages[0]["content"])
    if rules.startswith(SUMMARIZE):
        return Purpose.SUMMARY
    return Purpose.CONDENSE if rules.startswith(CONDENSE) else Purpose.CHAT


def is_condense(ask: Ask) -> bool:
    return ask.kind == "chat" and purpose_of(ask.messages) is Purpose.CONDENSE


def is_summary(ask: Ask) -> bool:
    return ask.kind == "chat" and purpose_of(ask.messages) is Purpose.SUMMARY


def seen(call: Call) -> Seen:
    said = [str(message["content"]) for message in call.messages[1:]]
    summary = ""
    if found := EARLIER.fullmatch(said[0]):
        summary, said[0] = found[2], found[3]
    return Seen(summary, said[:-1], said[-1].rpartition("Question: ")[2])


def question(seq: int, who: str = "") -> str:
    """Every fifth is long, in one language or the other."""
    words = LONG["ko" if seq % 10 else "en"] * 30 if seq % 5 == 0 else ""
    return f"Number {seq}{who}. {f'My boat is {FACT}.' if seq == 2 else ''} {words}".strip()


@pytest.fixture(scope="module")
async def long_talk(start_platform: StartPlatform, provider: ScriptedProvider, redis: Redis) -> Talk:
    bought = {"openai_base_url": provider.base_url, "openai_api_key": "test-key", "token_limit": 10**7}
    async with start_platform("conversing", **bought) as running:
        user = await running.user()
        await user.upload("lock.txt", b"The harbour master opens the lock at six in the morning.")
        provider.reset()
        provider.script(Fault(text="When does the harbour master open the lock?", fits=is_condense))
        with capture_logs() as logs:
            talk = await talked(user, redis)
            talk.used = (await user.settled_usage())["tokens_used"]
        talk.logs = list(logs)
        talk.calls = [call for call in provider.calls if call.kind == "chat"]
        talk.lines = await ledger(running, user)
    return talk


async def talked(user: User, redis: Redis) -> Talk:
    talk = Talk()
    first = await user.ask(question(1), use_rag=False)
    talk.keep(question(1), first)
    conversation = first["conversation_id"]

    async def ask(text: str, **fields: Any) -> None:
        talk.keep(text, await user.ask(text, conversation_id=conversation, **fields))

    async def client(name: str) -> None:
        for seq in TOGETHER[: len(TOGETHER) // 2]:
            await ask(question(seq, name), use_rag=False)

    while (seq := len(talk.asked) + 1) < LAST:
        if seq == TOGETHER.start:
            await asyncio.gather(client("a"), client("b"))
        else:
            if seq == FLUSHED:
                assert await redis.delete(f"{user.tenant}:window:{conversation}") == 1
            await ask(question(seq), use_rag=False)
    await ask("When does it open for my boat?", use_rag=True)
    return talk


async def ledger(running: Platform, user: User) -> list[ProviderCall]:
    me, month = Principal(user.tenant, user.account), month_of(datetime.now(UTC))
    found: list[ProviderCall] = []
    cursor = None
    while True:
        page = await running.services.usage.lines(me, month, limit=100, cursor=cursor)
        found += page.items
        if (cursor := page.next_cursor) is None:
            return found


async def test_no_prompt_holds_more_than_the_window_and_a_summary(long_talk: Talk, quiet: Platform) -> None:
    async def size(texts: Sequence[str]) -> int:
        return sum(cautious(count) for count in await quiet.services.tokenizer.counts(texts))

    for call in long_talk.of(Purpose.CHAT):
        found = seen(call)
        assert len(found.window) <= 2 * TURNS
        assert await size(found.window) <= HISTORY_TOKENS
        assert await size([found.summary]) <= SUMMARY_TOKENS
    for call in (*long_talk.of(Purpose.CONDENSE), *long_talk.of(Purpose.SUMMARY)):
        assert await size([call.messages[-1]["content"]]) <= HISTORY_TOKENS + SUMMARY_TOKENS + 200


async def test_what_was_said_in_the_second_turn_is_known_in_the_last(long_talk: Talk) -> None:
    last, [condensed] = long_talk.of(Purpose.CHAT)[-1], long_talk.of(Purpose.CONDENSE)

    assert seen(last).question == long_talk.asked[LAST]
    assert FACT not in " ".join(seen(last).window)
    assert FACT in seen(last).summary
    assert FACT in re.findall(r"^summary: (.*)$", condensed.messages[-1]["content"], re.MULTILINE)[0]


async def test_turns_of_two_clients_at_once_are_answered_one_after_the_other(long_talk: Talk) -> None:
    in_order = [long_talk.asked[seq] for seq in range(1, LAST + 1)]

    assert [seen(call).question for call in long_talk.of(Purpose.CHAT)] == in_order
    together = [text for text in in_order if re.match(r"Number \d+[ab]", text)]
    assert len(together) == len(TOGETHER)
    for name in "ab":
        of_one = [text for text in together if re.match(rf"Number \d+{name}", text)]
        assert of_one == [question(seq, name) for seq in TOGETHER[: len(TOGETHER) // 2]]


async def test_every_turn_sees_the_one_before_it_also_after_redis_was_flushed(long_talk: Talk) -> None:
    windows = [seen(call).window for call in long_talk.of(Purpose.CHAT)]

    assert windows[0] == []
    for seq, window in enumerate(windows[1:], start=2):
        assert window[-2:] == [long_talk.asked[seq - 1], long_talk.answered[seq - 1]]
    assert len(windows[FLUSHED - 1]) > 2


async def test_summaries_are_made_now_and_then_and_each_is_in_the_ledger_once(long_talk: Talk) -> None:
    calls, lines = long_talk.of(Purpose.SUMMARY), [one for one in long_talk.lines if one.purpose is Purpose.SUMMARY]

    assert LAST // 6 <= len(calls) <= LAST // 3
    assert {line.delivery for line in lines} == {Delivery.DELIVERED}
    assert sorted((line.prompt_tokens, line.completion_tokens) for line in lines) == sorted(
        (call.prompt_tokens, call.completion_tokens) for call in calls
    )
    assert len({line.workflow_id for line in lines}) == len(lines)
    assert long_talk.used == sum(call.prompt_tokens + call.completion_tokens for call in long_talk.calls)


async def test_no_turn_takes_more_than_was_reserved_for_it(long_talk: Talk) -> None:
    assert [entry for entry in long_talk.logs if entry["event"] == "budget_overshot"] == []


# --- short ones -------------------------------------------------------------------------------------------------


async def overflowing(user: User, language: str = "en") -> str:
    """A conversation of two turns that together do not fit a window: its next turn has something to summarize."""
    first = await user.ask(f"Mine is the {FACT}. {LONG[language] * 200}", use_rag=False)
    conversation: str = first["conversation_id"]
    await user.ask(LONG[language] * 200, conversation_id=conversation, use_rag=False)
    return conversation


async def flags(running: Platform, user: User, answer: dict[str, Any]) -> tuple[str, ...]:
    turn = await running.services.turns.turn_of_run(Principal(user.tenant, user.account), answer["workflow_id"])
    return turn.flags


@pytest.mark.parametrize("language", ["en", "ko"])
async def test_a_follow_up_is_condensed_from_the_summary_and_messages_that_show_where_they_are_cut(
    language: str, talking: Platform, talker: User, provider: ScriptedProvider
) -> None:
    conversation = await overflowing(talker, language)
    provider.reset()

    await talker.ask("그건 얼마나 길어요?", conversation_id=conversation)

    summarize, condense = (str(call.messages[-1]["content"]) for call in provider.calls if call.kind == "chat")
    assert FACT in summarize
    *_, user_line, assistant_line, end, _, asked = condense.splitlines()
    assert condense.splitlines()[1].startswith(f"summary: Mine is the {FACT}.")
    assert user_line.startswith(f"user: {LONG[language]}") and user_line.endswith(CUT)
    assert (assistant_line[:11], end[8:], asked) == ("assistant: ", " end", "Question: 그건 얼마나 길어요?")
    [tokens] = await talking.services.tokenizer.counts([user_line.removeprefix("user: ")])
    assert 0.9 * longest_message(HISTORY_TOKENS) < cautious(tokens) <= longest_message(HISTORY_TOKENS)


async def test_a_summary_that_fails_twice_leaves_the_window_and_is_made_by_the_next_turn(
    talking: Platform, talker: User, provider: ScriptedProvider
) -> None:
    conversation = await overflowing(talker)
    provider.reset()
    provider.script(Fault(status=500, fits=is_summary, times=2))

    without = await talker.ask("How long is she?", conversation_id=conversation, use_rag=False)
    later = await talker.ask("And how wide?", conversation_id=conversation, use_rag=False)

    first, second = (seen(call) for call in provider.calls if purpose_of(call.messages) is Purpose.CHAT)
    assert await flags(talking, talker, without) == ("summary_failed",)
    assert (first.summary, len(first.window)) == ("", 2)
    assert await flags(talking, talker, later) == ()
    assert FACT in second.summary
    lines = [line for line in await ledger(talking, talker) if line.purpose is Purpose.SUMMARY]
    assert [(line.delivery, line.workflow_id) for line in lines] == [(Delivery.DELIVERED, later["workflow_id"])]


async def test_a_summary_is_filtered_like_an_answer_and_one_that_holds_nothing_else_is_none(
    talking: Platform, talker: User, provider: ScriptedProvider
) -> None:
    conversation = await overflowing(talker)
    provider.reset()
    beacon = "![](http://evil.example/b.png)"
    provider.script(Fault(text=f" {beacon} ", fits=is_summary))
    provider.script(Fault(text=f"Hers is {beacon}the Alma.\x1b[31m", fits=is_summary))

    without = await talker.ask("How long is she?", conversation_id=conversation, use_rag=False)
    await talker.ask("And how wide?", conversation_id=conversation, use_rag=False)

    assert await flags(talking, talker, without) == ("summary_failed",)
    assert seen(provider.calls[-1]).summary == "Hers is the Alma."


async def test_a_summary_is_nowhere_but_in_the_database_and_goes_with_its_conversation(
    talking: Platform, talker: User, provider: ScriptedProvider, redis: Redis
) -> None:
    conversation = await overflowing(talker)
    provider.reset()
    provider.script(Fault(text="zymurgistic", fits=is_summary))
    me = Principal(talker.tenant, talker.account)

    with capture_logs() as logs:
        await talker.ask("How long is she?", conversation_id=conversation, use_rag=False)
    kept = await talking.services.turns.past(me, conversation, 4)
    deleted = await talker.http.delete(f"/api/v1/chat/conversations/{conversation}")

    histories = [
        history async for history in talking.client.list_workflows(f"TenantId = '{talker.tenant}'").map_histories()
    ]
    recorded = b"".join(event.SerializeToString() for history in histories for event in history.events)
    assert (kept.summary, kept.until, deleted.status_code) == ("zymurgistic", 1, 204)
    assert b"zymurgistic" not in recorded
    assert "zymurgistic" not in str(logs)
    assert (await talking.services.turns.past(me, conversation, 4)).summary == ""
    assert await redis.keys(f"{talker.tenant}:window:*") == []


async def test_a_conversation_that_is_quoted_from_documents_has_no_summary(quiet: Platform, user: User) -> None:
    await user.upload("lock.txt", b"The lock opens at six in the morning.")
    first = await user.ask("When does the lock open?")
    for _ in range(TURNS + 1):
        last = await user.ask("And when does it open?", conversation_id=first["conversation_id"])

    me = Principal(user.tenant, user.account)
    assert (await quiet.services.turns.past(me, first["conversation_id"], TURNS + 3)).summary == ""
    assert await flags(quiet, user, last) == ()
