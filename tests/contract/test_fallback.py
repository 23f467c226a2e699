"""Several models behind one answer: who is asked, what is told, and what each of them cost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment

from activities.chat import ChatActivities
from activities.meter import Meter
from activities.window import Recollection
from agents.state import TurnRef
from domain.accounts import Principal
from domain.chat import Finish, Turn
from domain.context import TRIMMED
from domain.errors import (
    ContextTooLong,
    MoorageError,
    NotFound,
    ProviderAuth,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
    UnknownModel,
)
from domain.events import EventKind
from domain.models import FALLBACK, Model, Models
from domain.prices import Prices
from domain.runs import Command, State
from domain.usage import Delivery, ProviderCall, month_of
from domain.window import Past
from infra.openai.answerer import OpenAIAnswerer, Patience
from infra.routed import RoutedAnswerer
from tests.contract.records import ANSWER, HIT, PASSAGE, Records
from tests.contract.tokenizer import WordTokenizer
from tests.provider.script import Fault
from tests.provider.server import ScriptedProvider

PATIENCE = 2.0  # seconds; less, and a machine that is busy with other tests is taken for a model that says nothing
MODELS = Models(
    [
        Model("quick", "gpt-quick", 4096, fallback=("own", "last")),
        Model("own", "llama", 4096),
        Model("last", "mistral", 4096, max_tokens=50),
    ]
)


class Unremembered:
    """Windows. Nothing is at hand; what was put away is known to the test."""

    def __init__(self) -> None:
        self.put_away: list[Past] = []

    async def get(self, principal: Principal, conversation_id: str, before: int) -> Past | None:
        return None

    async def put(self, principal: Principal, conversation_id: str, before: int, past: Past) -> None:
        self.put_away.append(past)


class Told:
    """Events and Voice. Everything that was told, in order."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.shown: list[int] = []  # sources, each time they were shown
        self.begun = asyncio.Event()
        self.dropped: list[str] = []

    async def drop(self, principal: Principal, workflow_ids: Sequence[str]) -> None:
        self.dropped += workflow_ids

    @asynccontextmanager
    async def speak(self, principal: Principal, workflow_id: str, attempt: int) -> AsyncIterator["Told"]:
        yield self

    async def publish(self, principal: Principal, workflow_id: str, event: EventKind) -> None: ...

    def show(self, sources: Sequence[Mapping[str, Any]]) -> None:
        self.shown.append(len(sources))

    def say(self, text: str) -> None:
        self.words.append(text)
        self.begun.set()


@pytest_asyncio.fixture
async def providers() -> AsyncIterator[dict[str, ScriptedProvider]]:
    """One for each model."""
    async with ScriptedProvider() as quick, ScriptedProvider() as own, ScriptedProvider() as last:
        yield {"quick": quick, "own": own, "last": last}


@pytest.fixture
def told() -> Told:
    return Told()


@pytest_asyncio.fixture
async def nodes(records: Records, providers: dict[str, ScriptedProvider], told: Told) -> AsyncIterator[ChatActivities]:
    answerers = {
        model.name: OpenAIAnswerer(
            base_url=providers[model.name].base_url,
            api_key=f"sk-{model.name}",
            model=model.called,
            tokenizer=WordTokenizer(),
            patience=Patience(first=PATIENCE, gap=5.0),
        )
        for model in MODELS.offered
    }
    yield ChatActivities(
        turns=records.turns,
        recollection=Recollection(records.turns, Unremembered(), WordTokenizer(), 100_000),
        retriever=None,  # type: ignore[arg-type]  # the passages are there already
        reader=None,  # type: ignore[arg-type]
        answerer=RoutedAnswerer(answerers),
        models=MODELS,
        tokenizer=WordTokenizer(),
        meter=Meter(records.usage, WordTokenizer(), Prices()),
        events=told,  # type: ignore[arg-type]  # as much of it as an answer needs
    )
    for answerer in answerers.values():
        await answerer.aclose()


def ref(me: Principal, command: Command) -> TurnRef:
    assert command.conversation_id and command.seq
    return {"tenant": me.tenant, "account": me.account, "conversation": command.conversation_id, "seq": command.seq}


async def answered(
    nodes: ChatActivities, records: Records, me: Principal, command: Command, *, attempt: int = 1
) -> Turn:
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, attempt=attempt)
    await environment.run(nodes.answer, ref(me, command))
    return await records.turn(me, command)


async def asked(records: Records, me: Principal, **fields: Any) -> Command:
    return await records.ask(me, billable=True, **{"use_rag": False, "message": "Say hello.", **fields})


async def lines(records: Records, me: Principal) -> list[ProviderCall]:
    """Oldest first."""
    page = await records.usage.lines(me, month_of(datetime.now(UTC)), limit=100, cursor=None)
    return list(reversed(page.items))


def calls(providers: dict[str, ScriptedProvider]) -> dict[str, int]:
    return {name: len(provider.calls) for name, provider in providers.items()}


UNAVAILABLE = {
    "refusing the key": (Fault(status=401), 0),
    "limiting": (Fault(status=429), 0),
    "down": (Fault(status=503), 0),
    "not saying a word": (Fault.hang(), 0),
    "cut before the first word": (Fault.error_after(0, "server_error"), 0),
    "malformed": (Fault.malformed(), 1),
}


@pytest.mark.parametrize(("fault", "bought"), UNAVAILABLE.values(), ids=UNAVAILABLE)
async def test_the_next_model_answers_for_one_that_is(
    records: Records,
    me: Principal,
    nodes: ChatActivities,
    providers: dict[str, ScriptedProvider],
    told: Told,
    fault: Fault,
    bought: int,
) -> None:
    providers["quick"].script(fault)
    command = await asked(records, me)

    turn = await answered(nodes, records, me, command)

    assert calls(providers) == {"quick": 1, "own": 1, "last": 0}
    assert (turn.model_used, turn.flags) == ("llama", (FALLBACK,))
    assert "".join(told.words) == turn.answer
    assert told.shown == [0]
    *failed, delivered = await lines(records, me)
    assert [(line.model, line.delivery) for line in failed] == [("gpt-quick", Delivery.RETRIED)] * bought
    assert (delivered.model, delivered.delivery) == ("llama", Delivery.DELIVERED)
    assert (delivered.prompt_tokens, delivered.completion_tokens) == (turn.prompt_tokens, turn.completion_tokens)
    assert delivered.op_id.endswith(":1")
    assert await records.usage.settle(me, command.workflow_id) == turn.prompt_tokens + turn.completion_tokens


async def test_a_model_that_is_there_answers_itself(
    records: Records, me: Principal, nodes: ChatActivities, providers: dict[str, ScriptedProvider]
) -> None:
    turn = await answered(nodes, records, me, await asked(records, me, model="own"))

    assert calls(providers) == {"quick": 0, "own": 1, "last": 0}
    assert (turn.model_used, turn.flags) == ("llama", ())
    assert [(call.model, call.api_key) for call in providers["own"].calls] == [("llama", "sk-own")]


async def test_a_reply_is_no_longer_than_the_model_that_gives_it_can_write(
    records: Records, me: Principal, nodes: ChatActivities, providers: dict[str, ScriptedProvider]
) -> None:
    for name in ("quick", "own"):
        providers[name].script(Fault(status=503))

    await answered(nodes, records, me, await asked(records, me, max_tokens=1000))

    asked_for = [provider.calls[0].max_tokens for provider in providers.values()]
    assert asked_for == [1000, 1000, 50]


async def test_once_something_was_told_no_other_model_goes_on_with_it(
    records: Records, me: Principal, nodes: ChatActivities, providers: dict[str, ScriptedProvider], told: Told
) -> None:
    providers["quick"].script(Fault.cut_after(3))
    command = await asked(records, me)

    with pytest.raises(ProviderUnavailable):
        await answered(nodes, records, me, command)
    broken = list(told.words)
    turn = await answered(nodes, records, me, command, attempt=2)

    assert calls(providers) == {"quick": 2, "own": 0, "last": 0}
    assert turn.answer is not None
    assert 0 < len("".join(broken)) < len(turn.answer)
    assert [line.delivery for line in await lines(records, me)] == [Delivery.RETRIED, Delivery.DELIVERED]


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ((Fault(status=401), Fault(status=503), Fault(status=401)), ProviderUnavailable),
        ((Fault(status=429, retry_after=7), Fault.malformed(), Fault(status=503)), ProviderRateLimited),
        ((Fault(status=401), Fault.malformed(), Fault.malformed()), ProviderAuth),
        ((Fault(status=503), Fault(status=404), Fault(status=413)), ProviderUnavailable),
    ],
)
async def test_when_none_is_available_another_attempt_is_made_if_that_may_help(
    records: Records,
    me: Principal,
    nodes: ChatActivities,
    providers: dict[str, ScriptedProvider],
    faults: Sequence[Fault],
    expected: type[MoorageError],
) -> None:
    for provider, fault in zip(providers.values(), faults, strict=True):
        provider.script(fault)
    command = await asked(records, me)

    with pytest.raises(MoorageError) as caught:
        await answered(nodes, records, me, command)

    assert type(caught.value) is expected
    assert calls(providers) == {"quick": 1, "own": 1, "last": 1}
    assert {line.delivery for line in await lines(records, me)} <= {Delivery.RETRIED}
    assert await records.usage.settle(me, command.workflow_id) == 0


async def test_a_refused_question_is_asked_of_nobody_else(
    records: Records, me: Principal, nodes: ChatActivities, providers: dict[str, ScriptedProvider]
) -> None:
    providers["quick"].script(Fault(status=400, code="content_filter"))

    with pytest.raises(ProviderRefused):
        await answered(nodes, records, me, await asked(records, me))

    assert calls(providers) == {"quick": 1, "own": 0, "last": 0}


async def test_a_model_that_was_taken_out_of_the_list_is_unknown(
    records: Records, me: Principal, nodes: ChatActivities, providers: dict[str, ScriptedProvider]
) -> None:
    with pytest.raises(UnknownModel):
        await answered(nodes, records, me, await asked(records, me, model="gone"))

    assert calls(providers) == {"quick": 0, "own": 0, "last": 0}


async def test_who_cancels_pays_the_model_that_was_speaking(
    records: Records, me: Principal, nodes: ChatActivities, providers: dict[str, ScriptedProvider], told: Told
) -> None:
    providers["quick"].script(Fault.malformed())
    providers["own"].script(Fault.hang(after=3))
    command = await asked(records, me)
    environment = ActivityEnvironment()
    running = asyncio.ensure_future(environment.run(nodes.answer, ref(me, command)))

    await told.begun.wait()
    environment.cancel(ActivityCancellationDetails(cancel_requested=True))
    await asyncio.wait([running])

    found = [(line.model, line.delivery) for line in await lines(records, me)]
    assert found == [("gpt-quick", Delivery.RETRIED), ("llama", Delivery.ESTIMATED)]
    assert (await records.turn(me, command)).flags == (FALLBACK,)


# --- what comes between the last word and its place in the database ------------------------------------------------


class Interrupted:
    """TurnRecords. Before an answer is committed, something happens."""

    def __init__(self, turns: Any, meanwhile: Callable[[Turn], Awaitable[None]]) -> None:
        self._turns = turns
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._turns, name)

    async def commit_answer(self, principal: Principal, turn: Turn, *rest: Any, **told: Any) -> Turn:
        await self._meanwhile(turn)
        committed: Turn = await self._turns.commit_answer(principal, turn, *rest, **told)
        return committed


def interrupted(nodes: ChatActivities, meanwhile: Callable[[Turn], Awaitable[None]]) -> ChatActivities:
    return replace(nodes, turns=Interrupted(nodes.turns, meanwhile))  # type: ignore[arg-type]


async def test_who_deletes_the_conversation_while_it_is_answered_pays_for_the_answer(
    records: Records, me: Principal, nodes: ChatActivities, told: Told
) -> None:
    command = await asked(records, me)

    async def deleted(turn: Turn) -> None:
        await records.turns.forget(me, turn.conversation_id)

    with pytest.raises(NotFound):
        await answered(interrupted(nodes, deleted), records, me, command)

    (line,) = await lines(records, me)
    assert line.delivery is Delivery.DELIVERED
    assert await records.usage.settle(me, command.workflow_id) == line.prompt_tokens + line.completion_tokens > 0
    assert told.dropped == [command.workflow_id]


async def test_who_cancels_before_the_answer_is_kept_keeps_what_was_told(
    records: Records, me: Principal, nodes: ChatActivities, told: Told
) -> None:
    command, environment = await asked(records, me), ActivityEnvironment()

    async def cancelled(_: Turn) -> None:
        environment.cancel(ActivityCancellationDetails(cancel_requested=True))
        await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        await environment.run(interrupted(nodes, cancelled).answer, ref(me, command))

    turn = await records.turn(me, command)
    assert (turn.outcome, turn.finish, turn.answer) == (State.CANCELLED, Finish.CANCELLED, "".join(told.words))
    assert [line.delivery for line in await lines(records, me)] == [Delivery.DELIVERED]
    record = await records.answers.record(me, command.workflow_id)
    assert record.prompt_digest
    assert list(record.prompts) == ["chat"]


async def test_words_that_were_not_kept_are_nobodys_past(
    records: Records, me: Principal, nodes: ChatActivities
) -> None:
    command, windows = await asked(records, me), Unremembered()
    recollection = replace(nodes.recollection, windows=windows)

    async def overtaken(_: Turn) -> None:
        await records.answer(me, command)

    slow = replace(interrupted(nodes, overtaken), recollection=recollection)
    turn = await answered(slow, records, me, command)

    assert turn.answer == ANSWER.text
    assert windows.put_away == []


async def test_a_question_is_condensed_by_the_next_model_too(
    records: Records, me: Principal, nodes: ChatActivities, providers: dict[str, ScriptedProvider]
) -> None:
    first = await asked(records, me)
    await records.answer(me, first)
    providers["quick"].script(Fault(status=401))
    second = await asked(records, me, conversation_id=first.conversation_id, use_rag=True, message="And then?")

    found = await ActivityEnvironment().run(nodes.condense, ref(me, second))

    assert found == {"flags": []}
    assert [line.model for line in await lines(records, me)] == ["llama"]


# --- the context ------------------------------------------------------------------------------------------------


def long_passage(number: int) -> Any:
    """200 tokens by our count, and some: of a window of 4,096 with a reply of 1,000, nine fit beside the rules."""
    text = f"Passage {number} is about moorage. " + "word " * 128
    hit = replace(HIT, chunk_id=f"chunk-{number}", text=text, start=0, end=len(text))
    return replace(PASSAGE, hit=hit)


async def found(records: Records, me: Principal, passages: int, **fields: Any) -> Command:
    command = await asked(records, me, use_rag=True, message="What is a moorage?", **fields)
    turn = await records.turn(me, command)
    await records.turns.note_passages(me, turn, [long_passage(n) for n in range(passages)], relevant=True)
    return command


def sent_passages(provider: ScriptedProvider, call: int = 0) -> int:
    return str(provider.calls[call].messages[-1]["content"]).count("is about moorage")


async def test_no_more_is_sent_than_the_model_can_read_and_only_that_is_a_source(
    records: Records, me: Principal, nodes: ChatActivities, providers: dict[str, ScriptedProvider], told: Told
) -> None:
    turn = await answered(nodes, records, me, await found(records, me, 50))

    sent = sent_passages(providers["quick"])
    assert 5 < sent < 20
    assert [source.index for source in turn.sources] == list(range(1, sent + 1))
    assert [source.chunk_id for source in turn.sources] == [f"chunk-{number}" for number in range(sent)]
    assert told.shown == [sent]
    assert turn.flags == (TRIMMED,)
    assert providers["quick"].calls[0].prompt_tokens + 1000 <= 4096


async def test_what_the_provider_finds_too_long_is_asked_again_with_half_and_billed_once(
    records: Records, me: Principal, nodes: ChatActivities, providers: dict[str, ScriptedProvider], told: Told
) -> None:
    providers["quick"].script(Fault(status=400, code="context_length_exceeded"))
    command = await found(records, me, 4)

    turn = await answered(nodes, records, me, command)

    assert [sent_passages(providers["quick"], call) for call in (0, 1)] == [4, 2]
    assert (len(turn.sources), told.shown, turn.flags) == (2, [2], (TRIMMED,))
    (line,) = await lines(records, me)
    assert (line.delivery, line.prompt_tokens) == (Delivery.DELIVERED, turn.prompt_tokens)


async def test_what_is_too_long_by_half_as_well_fails_by_name_and_costs_nothing(
    records: Records, me: Principal, nodes: ChatActivities, providers: dict[str, ScriptedProvider]
) -> None:
    providers["quick"].script(Fault(status=400, code="context_length_exceeded", times=2))

    with pytest.raises(ContextTooLong):
        await answered(nodes, records, me, await found(records, me, 4))

    assert calls(providers) == {"quick": 2, "own": 0, "last": 0}
    assert await lines(records, me) == []


async def test_a_question_that_no_context_holds_is_not_sent(
    records: Records, me: Principal, nodes: ChatActivities, providers: dict[str, ScriptedProvider]
) -> None:
    with pytest.raises(ContextTooLong):
        await answered(nodes, records, me, await asked(records, me, message="word " * 3000))

    assert calls(providers) == {"quick": 0, "own": 0, "last": 0}
    assert await lines(records, me) == []


async def test_old_messages_are_left_out_before_passages(
    records: Records, me: Principal, nodes: ChatActivities, providers: dict[str, ScriptedProvider]
) -> None:
    first = await asked(records, me, message="word " * 1500)
    await records.answer(me, first)
    second = await asked(records, me, conversation_id=first.conversation_id)
    await records.answer(me, second)
    command = await found(records, me, 6, conversation_id=first.conversation_id)

    await answered(nodes, records, me, command)

    said = [message["content"] for message in providers["quick"].calls[0].messages[1:-1]]
    assert said == ["Say hello.", "A place [1]."]
    assert sent_passages(providers["quick"]) == 6
