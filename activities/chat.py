"""The work of a turn's nodes: recall, condense, retrieve, answer."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from typing import Any, cast

from temporalio import activity

from activities.context import attempt, cancelled_on_request, operation_ids, principal_of
from activities.heartbeat import heartbeating
from activities.meter import Asked, Call, Meter
from activities.retrieval import Find, Retriever
from agents import prompts
from agents.options import CONDENSE_CALLS
from agents.prompts import Message
from agents.state import TurnRef
from domain.accounts import Principal
from domain.chat import WINDOW, Answer, Completion, Finish, Line, Prompt, Speaker, Turn, not_found
from domain.citations import Markers, cite, unquoted
from domain.errors import EarlierTurnOpen, NotFound, Permanent, ProviderMalformed
from domain.events import EventKind
from domain.ports import Answerer, Events, Tokenizer, TurnRecords, Voice, Windows
from domain.usage import Delivery, ProviderCall, Purpose, cautious


@dataclass(frozen=True, slots=True)
class ChatActivities:
    """Built by the worker with real ports; the graph names the methods."""

    turns: TurnRecords
    windows: Windows
    retriever: Retriever
    answerer: Answerer
    tokenizer: Tokenizer
    meter: Meter
    events: Events

    async def recall(self, state: TurnRef) -> dict[str, Any]:
        """Wait for the earlier turn, then see what there is to refer to."""
        principal, turn = await self._turn(state)
        await self._earlier_is_over(principal, turn)
        history = await self._history(principal, turn)
        return {"history": len(history), "use_rag": turn.use_rag}

    async def condense(self, state: TurnRef) -> dict[str, Any]:
        """Make a question that stands alone, once. When the model fails twice the raw question has to do."""
        principal, turn = await self._turn(state)
        if turn.query is not None:  # an earlier attempt came so far
            return {"flags": list(turn.flags)}
        history = await self._history(principal, turn)
        if self.answerer.talks and await self._condensed(principal, turn, history):
            return {"flags": []}
        flags = ["condense_failed"] if self.answerer.talks else []
        await self.turns.note_query(principal, turn, with_earlier_question(turn.question, history), flags=flags)
        return {"flags": flags}

    async def _condensed(self, principal: Principal, turn: Turn, history: Sequence[Line]) -> bool:
        """False when the model failed: a refused rewriting is no reason to refuse the answer."""
        if attempt() > CONDENSE_CALLS:
            return False
        began = time.perf_counter()
        sent = prompts.condense(turn.question, history, prompts.marker())
        try:
            async with heartbeating(), self._call(principal, turn, Purpose.CONDENSE, sent) as call:
                completion = await self.answerer.condense(turn.question, history, turn.model)
                assert completion is not None
                calls, timings = [_reply(call, completion)], {"condense": _since(began)}
                await self.turns.note_query(principal, turn, completion.text, flags=[], calls=calls, timings=timings)
        except Permanent:
            return False
        return True

    async def retrieve(self, state: TurnRef) -> dict[str, Any]:
        """Find passages for the question and keep them with the turn."""
        principal, turn = await self._turn(state)
        if turn.collection_id is None:
            raise NotFound("The collection of this turn is gone.")
        find = Find(
            text=turn.query or turn.question,
            collection_id=turn.collection_id,
            k=turn.k,
            document_ids=turn.document_ids,
            filters=list(turn.filters.values()),
        )
        found = await self.retriever.find(principal, find, op_id=next(operation_ids()), workflow_id=turn.workflow_id)
        timings = {"embed": found.timings["embed"], "search": found.timings["search"]}
        await self.turns.note_passages(principal, turn, found.passages, relevant=found.relevant, timings=timings)
        return {"passages": len(found.passages)}

    async def answer(self, state: TurnRef) -> dict[str, Any]:
        """Answer once: a repeated attempt finds the committed answer and pays nothing."""
        principal, turn = await self._turn(state)
        if turn.outcome is None:
            turn = await self._answer(principal, turn)
        await self.events.publish(principal, turn.workflow_id, EventKind.DONE)
        return {
            "finish": turn.finish,
            "passages": len(turn.sources),
            "prompt_tokens": turn.prompt_tokens,
            "completion_tokens": turn.completion_tokens,
        }

    async def _answer(self, principal: Principal, turn: Turn) -> Turn:
        """Without evidence no model is asked: it could only invent."""
        began = time.perf_counter()
        history = await self._history(principal, turn)
        if turn.use_rag and not turn.relevant:
            unasked = Completion(text=not_found(turn.question), model="", finish=Finish.NOT_FOUND)
            async with self.events.speak(principal, turn.workflow_id, attempt()) as voice:
                voice.say(unasked.text)
            return await self._commit(principal, turn, history, unasked, [], began)
        prompt = _prompt(turn, history)
        sent = prompts.answer(prompt, prompts.marker()) if self.answerer.billable else []  # to be counted
        async with heartbeating(), self._call(principal, turn, Purpose.CHAT, sent) as call:
            completion = await self._complete(principal, turn, prompt, call)
            return await self._commit(principal, turn, history, completion, [_reply(call, completion)], began)

    async def _complete(self, principal: Principal, turn: Turn, prompt: Prompt, call: Call) -> Completion:
        """What is told on the way is what will be kept, letter by letter; also by whoever stops it."""
        told: list[str] = []
        try:
            async with self.events.speak(principal, turn.workflow_id, attempt()) as voice:
                voice.show([asdict(source) for source in unquoted(prompt.passages)])
                return await self._read(prompt, call, voice, told)
        except asyncio.CancelledError:
            if cancelled_on_request():
                await self._keep_said(principal, turn, call, "".join(told))
            raise

    async def _read(self, prompt: Prompt, call: Call, voice: Voice, told: list[str]) -> Completion:
        markers = Markers(len(prompt.passages))
        async for piece in self.answerer.answer(prompt):
            told.append(markers.rest() if isinstance(piece, Completion) else markers.feed(piece))
            voice.say(told[-1])
            if isinstance(piece, Completion):
                return piece
            call.hear(piece)
        raise ProviderMalformed("The reply ended without its final part.")

    async def _keep_said(self, principal: Principal, turn: Turn, call: Call, said: str) -> None:
        line = await self.meter.cancelled(call)
        partial = Completion(
            text=said,
            model=line.model,
            finish=Finish.CANCELLED,
            prompt_tokens=line.prompt_tokens,
            completion_tokens=line.completion_tokens,
            estimated=line.delivery is Delivery.ESTIMATED,
        )
        answer = await self._cited(turn, partial)
        await self.turns.keep_said(principal, turn, answer, [line])

    async def _commit(
        self,
        principal: Principal,
        turn: Turn,
        history: Sequence[Line],
        completion: Completion,
        calls: Sequence[ProviderCall],
        began: float,
    ) -> Turn:
        answer = await self._cited(turn, completion)
        timings = {"answer": _since(began)}
        committed = await self.turns.commit_answer(principal, turn, answer, calls, timings=timings)
        lines = [*history, Line(Speaker.USER, turn.question), Line(Speaker.ASSISTANT, answer.text)]
        await self.windows.put(principal, turn.conversation_id, turn.seq + 1, lines[-WINDOW:])
        return committed

    async def _cited(self, turn: Turn, completion: Completion) -> Answer:
        cited = cite(turn.query or turn.question, completion.text, turn.passages if turn.use_rag else ())
        return Answer(
            text=cited.text,
            finish=completion.finish,
            model=completion.model,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            estimated=completion.estimated,
            answer_tokens=cautious((await self.tokenizer.counts([cited.text]))[0]),
            sources=cited.sources,
            prompt_digest=completion.prompt_digest,
            flags=cited.flags,
        )

    def _call(
        self, principal: Principal, turn: Turn, purpose: Purpose, sent: Sequence[Message]
    ) -> AbstractAsyncContextManager[Call]:
        asked = Asked(
            op_id=next(operation_ids()),
            workflow_id=turn.workflow_id,
            purpose=purpose,
            model=turn.model or self.answerer.models[0],
            sent=[message["content"] for message in sent],
            billable=self.answerer.billable,
        )
        return self.meter.call(principal, asked)

    async def _turn(self, state: TurnRef) -> tuple[Principal, Turn]:
        principal = principal_of(state)
        return principal, await self.turns.turn(principal, state["conversation"], state["seq"])

    async def _earlier_is_over(self, principal: Principal, turn: Turn) -> None:
        if turn.seq == 1:
            return
        earlier = await self.turns.turn(principal, turn.conversation_id, turn.seq - 1)
        if earlier.outcome is None:
            raise EarlierTurnOpen

    async def _history(self, principal: Principal, turn: Turn) -> list[Line]:
        """The window before this turn: from Redis, else from the database and then into Redis."""
        if turn.seq == 1:
            return []
        kept = await self.windows.get(principal, turn.conversation_id, turn.seq)
        if kept is None:
            kept = await self.turns.window(principal, turn.conversation_id, turn.seq, WINDOW)
            await self.windows.put(principal, turn.conversation_id, turn.seq, kept)
        return kept


def short_steps(nodes: ChatActivities) -> list[Callable[..., Any]]:
    """The steps that the workflow itself calls, by name."""

    @activity.defn(name="turn.recall")
    async def recall(turn: dict[str, Any]) -> dict[str, Any]:
        return await nodes.recall(cast("TurnRef", turn))

    @activity.defn(name="turn.retrieve")
    async def retrieve(turn: dict[str, Any]) -> dict[str, Any]:
        return await nodes.retrieve(cast("TurnRef", turn))

    return [recall, retrieve]


def with_earlier_question(question: str, history: Sequence[Line]) -> str:
    """What to search for when no model can rewrite a follow-up: the last question and this one."""
    earlier = [line.text for line in history if line.speaker is Speaker.USER]
    return f"{earlier[-1]} {question}" if earlier else question


def _prompt(turn: Turn, history: Sequence[Line]) -> Prompt:
    return Prompt(
        question=turn.question,
        passages=turn.passages if turn.use_rag else (),
        history=tuple(history),
        use_rag=turn.use_rag,
        model=turn.model,
        temperature=turn.temperature,
        max_tokens=turn.max_tokens,
        query=turn.query or turn.question,
    )


def _reply(call: Call, completion: Completion) -> ProviderCall:
    return call.answered(
        completion.model,
        completion.prompt_tokens,
        completion.completion_tokens,
        estimated=completion.estimated,
    )


def _since(began: float) -> float:
    return round(1000 * (time.perf_counter() - began), 2)
