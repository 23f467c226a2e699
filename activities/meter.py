"""Every call of a paid model, written down before it is made and again when it is over, however it ends.

open --reply and its use in one transaction--> delivered | estimated
open --the caller cancelled--> estimated (what was heard so far), counted
open --it failed, or the attempt did after it--> retried, not counted
open --refused, nothing was bought--> no line
open --the worker died--> retried, when the run is settled
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from activities.attempt import cancelled_on_request
from domain.accounts import Principal
from domain.errors import MoorageError, ProviderMalformed
from domain.ports import Tokenizer, UsageRecords
from domain.prices import Prices
from domain.usage import Delivery, ProviderCall, Purpose, cautious


@dataclass(frozen=True, slots=True)
class Asked:
    """A call about to be made. `sent` is what the model will read, to be counted if it does not say how much."""

    op_id: str
    workflow_id: str | None
    purpose: Purpose
    model: str
    sent: Sequence[str]
    billable: bool


@dataclass(slots=True)
class Call:
    """A call while it lasts."""

    asked: Asked
    prices: Prices
    prompt_tokens: int = 0  # estimated, until the reply
    heard: list[str] = field(default_factory=list)
    reply: ProviderCall | None = None

    def hear(self, piece: str) -> None:
        self.heard.append(piece)

    def answered(
        self, model: str, prompt_tokens: int, completion_tokens: int = 0, *, estimated: bool = False
    ) -> ProviderCall:
        """The line of a complete reply. It is for the caller to write it, together with what it makes of the reply."""
        self.reply = _line(self.prices, self.asked, model, (prompt_tokens, completion_tokens), _delivery(estimated))
        return self.reply

    def opened(self) -> ProviderCall:
        return self.ended(0, Delivery.OPEN)

    def ended(self, completion_tokens: int, delivery: Delivery) -> ProviderCall:
        """Of a call without a complete reply."""
        return _line(self.prices, self.asked, self.asked.model, (self.prompt_tokens, completion_tokens), delivery)


@dataclass(frozen=True, slots=True)
class Meter:
    usage: UsageRecords
    tokenizer: Tokenizer
    prices: Prices

    @asynccontextmanager
    async def call(self, principal: Principal, asked: Asked) -> AsyncIterator[Call]:
        """Around a call and the use of its reply. A free one is only listed, by whoever uses its reply."""
        call = Call(asked, self.prices)
        if not asked.billable:
            yield call
            return
        call.prompt_tokens = cautious(sum(await self.tokenizer.counts(asked.sent)))
        await self.usage.record(principal, [call.opened()])
        try:
            yield call
        except BaseException as error:  # a cancel is none of ours to keep, but its price is
            with suppress(MoorageError):  # the database is away: the call stays open until its run is settled
                await self._end(principal, call, error)
            raise

    async def record(self, principal: Principal, line: ProviderCall) -> None:
        await self.usage.record(principal, [line])

    def bill(self, asked: Asked, model: str, prompt_tokens: int, at: datetime, *, estimated: bool) -> ProviderCall:
        """The line of a reply that came at that moment, in this attempt or in another one."""
        return _line(self.prices, asked, model, (prompt_tokens, 0), _delivery(estimated), at)

    async def cancelled(self, call: Call) -> ProviderCall:
        """The line of a call that somebody cancelled: the reply, or what was heard of it."""
        if call.reply is None:
            call.reply = call.ended(await self._spoken(call), Delivery.ESTIMATED)
        return call.reply

    async def _lost(self, call: Call) -> ProviderCall:
        """The line of a call that came to nothing."""
        if call.reply is not None:
            return replace(call.reply, delivery=Delivery.RETRIED)
        return call.ended(await self._spoken(call), Delivery.RETRIED)

    async def _spoken(self, call: Call) -> int:
        """Tokens of what was heard, cautiously."""
        return cautious((await self.tokenizer.counts(["".join(call.heard)]))[0]) if call.heard else 0

    async def _end(self, principal: Principal, call: Call, error: BaseException) -> None:
        if call.reply is None and not call.heard and _refused(error):
            await self.usage.drop(principal, call.asked.op_id)
            return
        cancelled = isinstance(error, asyncio.CancelledError) and cancelled_on_request()
        await self.usage.record(principal, [await (self.cancelled(call) if cancelled else self._lost(call))])
        if cancelled and call.asked.workflow_id:  # its run may have been settled already
            await self.usage.settle(principal, call.asked.workflow_id)


def _line(
    prices: Prices, asked: Asked, model: str, tokens: tuple[int, int], delivery: Delivery, at: datetime | None = None
) -> ProviderCall:
    """`tokens`: of prompt and completion. Who pays nothing has no cost."""
    moment = at or datetime.now(UTC)
    return ProviderCall(
        op_id=asked.op_id,
        workflow_id=asked.workflow_id,
        purpose=asked.purpose,
        model=model,
        prompt_tokens=tokens[0],
        completion_tokens=tokens[1],
        delivery=delivery,
        billable=asked.billable,
        at=moment,
        cost=prices.cost(model, *tokens, moment) if asked.billable else None,
    )


def _delivery(estimated: bool) -> Delivery:
    return Delivery.ESTIMATED if estimated else Delivery.DELIVERED


def _refused(error: BaseException) -> bool:
    """By the provider or on the way to it; a malformed reply was made, and has its price."""
    return isinstance(error, MoorageError) and not isinstance(error, ProviderMalformed)
