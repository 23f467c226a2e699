"""The work of a turn's nodes: recall, summarize, condense, retrieve, answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from temporalio import activity

from activities.asking import first_available, within_context
from activities.attempt import attempt, cancelled_on_request, operation_ids, principal_of
from activities.heartbeat import heartbeating
from activities.meter import Asked, Call, Meter
from activities.passages import Reader
from activities.retrieval import Find, Retriever
from activities.timings import since
from activities.window import Recollection
from agents import prompts
from agents.options import CONDENSE_CALLS, SUMMARIZE_CALLS
from agents.prompts import Message
from agents.state import TurnRef
from domain.accounts import Principal
from domain.chat import Answer, AsOf, Completion, Finish, Line, Prompt, Speaker, Turn, not_found, withheld
from domain.citations import cite, unquoted
from domain.context import TRIMMED, trimmed
from domain.errors import EarlierTurnOpen, NotFound, Permanent, ProviderMalformed
from domain.events import EventKind
from domain.models import FALLBACK, Model, Models
from domain.names import chat_run
from domain.output import Output, one_line, tame
from domain.ports import Answerer, Events, Tokenizer, TurnRecords, Voice
from domain.runs import State
from domain.usage import Delivery, ProviderCall, Purpose, cautious
from domain.window import SUMMARY_TOKENS, Past

LONGEST_QUERY = 1_000  # characters of a rewritten question


@dataclass(frozen=True, slots=True)
class ChatActivities:
    """Built by the worker with real ports; the graph names the methods."""

    turns: TurnRecords
    recollection: Recollection
    retriever: Retriever
    reader: Reader
    answerer: Answerer
    models: Models
    tokenizer: Tokenizer
    meter: Meter
    events: Events

    async def recall(self, state: TurnRef) -> dict[str, Any]:
        """Wait for the earlier turn, then see what there is to refer to."""
        principal, turn = await self._turn(state)
        await self._earlier_is_over(principal, turn)
        past = await self.recollection.past(principal, turn)
        summing_up = self.answerer.talks and turn.origin is None  # a rerun's past does not grow
        left_out = past.left_out(self.recollection.tokens) if summing_up else ()
        return {"history": len(self._window(past)), "left_out": len(left_out), "use_rag": turn.use_rag}

    async def summarize(self, state: TurnRef) -> dict[str, Any]:
        """Summarize what the window leaves out, once. When the model fails twice the window has to do."""
        async with heartbeating():
            principal, turn = await self._turn(state)
            past = await self.recollection.stored(principal, turn)  # an earlier attempt may have come so far
            if past.left_out(self.recollection.tokens) and not await self._summarized(principal, turn, past):
                await self.turns.note_flag(principal, turn, "summary_failed")
                return {"flags": ["summary_failed"]}
            return {"flags": []}

    async def _summarized(self, principal: Principal, turn: Turn, past: Past) -> bool:
        """False when the model failed: an answer without the summary is better than none."""
        if attempt() > SUMMARIZE_CALLS:
            return False
        began, ops = time.perf_counter(), operation_ids()
        left_out = past.left_out(self.recollection.tokens)
        lines = [line for exchange in left_out for line in exchange.lines]
        sent = prompts.summarize(past.summary, lines, prompts.marker())

        async def ask(model: Model) -> None:
            async with self._call(principal, turn, Purpose.SUMMARY, sent, model, next(ops)) as call:
                completion = await self.answerer.summarize(past.summary, lines, model.name)
                assert completion is not None
                summary, _ = tame(completion.text)
                if not summary:
                    raise ProviderMalformed("empty: nothing of the summary may be kept.")
                summary, until = await self._short(summary), left_out[-1].seq
                told: dict[str, Any] = {"calls": [_reply(call, completion)], "timings": {"summarize": since(began)}}
                told |= {"prompts": prompts.used("summarize")}
                await self.turns.note_summary(principal, turn, summary, until, after=past.until, **told)

        if not await self._tried(turn, ask):
            return False
        await self.recollection.stored(principal, turn)
        return True

    async def condense(self, state: TurnRef) -> dict[str, Any]:
        """Make a question that stands alone, once. When the model fails twice the raw question has to do."""
        async with heartbeating():
            principal, turn = await self._turn(state)
            if turn.query is not None:  # an earlier attempt came so far
                return {"flags": list(turn.flags)}
            past = await self.recollection.past(principal, turn)
            if self.answerer.talks and await self._condensed(principal, turn, past):
                return {"flags": list(turn.flags)}
            flags = ["condense_failed"] if self.answerer.talks else []
            query = with_earlier_question(turn.question, self._window(past))
            await self.turns.note_query(principal, turn, query, flags=flags)
            return {"flags": [*turn.flags, *flags]}

    async def _condensed(self, principal: Principal, turn: Turn, past: Past) -> bool:
        """False when the model failed: a refused rewriting is no reason to refuse the answer."""
        if attempt() > CONDENSE_CALLS:
            return False
        began, ops = time.perf_counter(), operation_ids()
        history = self._window(past)
        sent = prompts.condense(turn.question, history, prompts.marker(), summary=past.summary)

        async def ask(model: Model) -> None:
            async with self._call(principal, turn, Purpose.CONDENSE, sent, model, next(ops)) as call:
                completion = await self.answerer.condense(turn.question, history, model.name, summary=past.summary)
                assert completion is not None
                calls, timings = [_reply(call, completion)], {"condense": since(began)}
                query, flags = one_line(completion.text, LONGEST_QUERY)
                query = query or with_earlier_question(turn.question, history)
                used = prompts.used("condense")
                await self.turns.note_query(
                    principal, turn, query, flags=flags, calls=calls, prompts=used, timings=timings
                )

        return await self._tried(turn, ask)

    async def _tried(self, turn: Turn, ask: Callable[[Model], Awaitable[None]]) -> bool:
        """False when no model can do it; what may pass raises, and is tried again."""
        try:
            await first_available(self.models.chain(turn.model), ask)
        except Permanent:
            return False
        return True

    async def retrieve(self, state: TurnRef) -> dict[str, Any]:
        """Choose passages for the question and keep them with the turn."""
        principal, turn = await self._turn(state)
        if turn.as_of is AsOf.THEN:  # it has them from the turn that it is a rerun of
            return {"passages": len(turn.passages)}
        if turn.collection_id is None:
            raise NotFound("The collection of this turn is gone.")
        find = Find(
            text=turn.query or turn.question,
            collection_id=turn.collection_id,
            k=turn.k,
            document_ids=turn.document_ids,
            filters=list(turn.filters.values()),
        )
        chosen = await self.retriever.choose(principal, find, op_id=next(operation_ids()), workflow_id=turn.workflow_id)
        found = await self.reader.widen(principal, chosen, turn.k)
        timings = {stage: found.timings[stage] for stage in ("embed", "search", "widen")}
        hits = [candidate.hit for candidate in found.candidates]
        told: dict[str, Any] = {"relevant": found.relevant, "found": hits, "timings": timings}
        await self.turns.note_passages(principal, turn, found.passages, **told)
        return {"passages": len(found.passages)}

    async def answer(self, state: TurnRef) -> dict[str, Any]:
        """Answer once: a repeated attempt finds the committed answer and pays nothing."""
        principal, workflow_id = principal_of(state), chat_run(state["tenant"], state["conversation"], state["seq"])
        async with heartbeating():
            try:
                _, turn = await self._turn(state)
                if turn.outcome is None:
                    turn = await self._answer(principal, turn)
            except NotFound:  # its conversation was deleted meanwhile, and this told some of it again
                await self.events.drop(principal, [workflow_id])
                raise
            await self.events.publish(principal, workflow_id, EventKind.DONE)
        return {
            "finish": turn.finish,
            "passages": len(turn.sources),
            "prompt_tokens": turn.prompt_tokens,
            "completion_tokens": turn.completion_tokens,
        }

    async def _answer(self, principal: Principal, turn: Turn) -> Turn:
        """Without evidence no model is asked: it could only invent."""
        began = time.perf_counter()
        past = await self.recollection.past(principal, turn)
        if turn.use_rag and not turn.relevant:
            unasked = Completion(text=not_found(turn.question), model="", finish=Finish.NOT_FOUND)
            async with self.events.speak(principal, turn.workflow_id, attempt()) as voice:
                voice.say(unasked.text)
            return await self._commit(principal, turn, past, await self._cited(turn, unasked), [], began)
        return await self._asked(principal, turn, past, began)

    async def _asked(self, principal: Principal, turn: Turn, past: Past, began: float) -> Turn:
        """Every model that is asked is a call of its own in the ledger; one reply is kept."""
        whole, told, ops = _prompt(turn, self._window(past), past.summary), list[str](), operation_ids()

        async def ask(model: Model, prompt: Prompt) -> Turn:
            sent = prompts.answer(prompt, prompt.marker) if self.answerer.billable else []  # to be counted
            given = _given(turn, whole, prompt, self.models)
            async with self._call(principal, turn, Purpose.CHAT, sent, model, next(ops)) as call:
                output = self._output(prompt)
                try:
                    async with self.events.speak(principal, turn.workflow_id, attempt()) as voice:
                        completion = await self._read(prompt, output, call, voice, told)
                    line = _reply(call, completion)
                    answer = await self._cited(given, completion, prompt)
                    return await self._commit(principal, given, past, answer, [line], began)
                except asyncio.CancelledError:  # what was told is kept, letter by letter
                    if cancelled_on_request():
                        await self._keep_said(principal, given, prompt, call, "".join(told), output.flags)
                    raise

        return await first_available(
            self.models.chain(turn.model),
            lambda model: within_context(model, whole, self.tokenizer, ask, told),
            told,
        )

    async def _read(self, prompt: Prompt, output: Output, call: Call, voice: Voice, told: list[str]) -> Completion:
        async for piece in self.answerer.answer(prompt):
            said = output.rest() if isinstance(piece, Completion) else output.feed(piece)
            if isinstance(piece, Completion) and output.flags and not _says("".join([*told, said])):
                said += f"\n\n{withheld(prompt.question)}" if told or said else withheld(prompt.question)
            if said and not told:  # from now on it is this model's answer, from these passages
                voice.show([asdict(source) for source in unquoted(prompt.passages)])
            if said:
                told.append(said)
                voice.say(said)
            if isinstance(piece, Completion):
                return replace(piece, text="".join(told), flags=output.flags)
            call.hear(piece)
        raise ProviderMalformed("The reply ended without its final part.")

    def _output(self, prompt: Prompt) -> Output:
        rules = prompts.rules(prompt, prompt.marker) if self.answerer.talks else ""
        return Output(len(prompt.passages), rules=rules, code=prompt.marker)

    async def _keep_said(
        self, principal: Principal, turn: Turn, prompt: Prompt, call: Call, said: str, flags: tuple[str, ...]
    ) -> None:
        line = await self.meter.cancelled(call)
        partial = Completion(
            text=said,
            model=line.model,
            finish=Finish.CANCELLED,
            prompt_tokens=line.prompt_tokens,
            completion_tokens=line.completion_tokens,
            estimated=line.delivery is Delivery.ESTIMATED,
            prompt_digest=prompts.digest(prompts.answer(prompt, prompt.marker)) if self.answerer.talks else "",
            flags=flags,
        )
        answer = await self._cited(turn, partial, prompt)
        try:
            await self.turns.keep_said(principal, turn, answer, [line])
        except NotFound:  # deleted as well
            await self.events.drop(principal, [turn.workflow_id])

    async def _commit(
        self,
        principal: Principal,
        turn: Turn,
        past: Past,
        answer: Answer,
        calls: Sequence[ProviderCall],
        began: float,
    ) -> Turn:
        timings = {"answer": since(began)}
        committed = await self.turns.commit_answer(principal, turn, answer, calls, timings=timings)
        kept = committed.outcome is State.SUCCEEDED and committed.answer == answer.text
        if kept and turn.origin is None:  # nobody asks on beside a rerun
            await self.recollection.answered(principal, turn, past, answer)
        return committed

    async def _cited(self, turn: Turn, completion: Completion, prompt: Prompt | None = None) -> Answer:
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
            flags=(*turn.flags, *completion.flags, *cited.flags),
            prompts=_files(prompt) if prompt and completion.prompt_digest else {},
        )

    def _call(
        self, principal: Principal, turn: Turn, purpose: Purpose, sent: Sequence[Message], model: Model, op_id: str
    ) -> AbstractAsyncContextManager[Call]:
        asked = Asked(
            op_id=op_id,
            workflow_id=turn.workflow_id,
            purpose=purpose,
            model=model.called,
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

    def _window(self, past: Past) -> tuple[Line, ...]:
        return past.window(self.recollection.tokens)

    async def _short(self, summary: str) -> str:
        """Of a model that was told how much to write and wrote more."""
        tokens = cautious((await self.tokenizer.counts([summary]))[0])
        return (await self.recollection.fitted(summary, tokens, SUMMARY_TOKENS))[0]


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


def _says(text: str) -> bool:
    return any(map(str.isalnum, text))


def _prompt(turn: Turn, history: Sequence[Line], summary: str) -> Prompt:
    return Prompt(
        question=turn.question,
        passages=turn.passages if turn.use_rag else (),
        history=tuple(history),
        use_rag=turn.use_rag,
        model=turn.model,
        temperature=turn.temperature,
        max_tokens=turn.max_tokens,
        query=turn.query or turn.question,
        summary=summary,
        marker=prompts.marker(),
    )


def _files(prompt: Prompt) -> dict[str, str]:
    """Which of our words this prompt is made of."""
    return prompts.used("answer" if prompt.use_rag else "chat", *(["earlier"] if prompt.summary else []))


def _given(turn: Turn, whole: Prompt, sent: Prompt, models: Models) -> Turn:
    """The turn as this model is asked it: its sources are the passages that were sent, numbered as they were."""
    flags = [FALLBACK] if sent.model != models.named(turn.model).name else []
    flags += [TRIMMED] if trimmed(whole, sent) else []
    return replace(turn, passages=sent.passages, flags=(*turn.flags, *flags))


def _reply(call: Call, completion: Completion) -> ProviderCall:
    return call.answered(
        completion.model,
        completion.prompt_tokens,
        completion.completion_tokens,
        estimated=completion.estimated,
    )
