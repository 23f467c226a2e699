"""Where a turn's past comes from: Redis, else the database; and how long messages are made to fit."""

from dataclasses import dataclass, replace

from domain.accounts import Principal
from domain.chat import Answer, Place, Turn
from domain.ports import Tokenizer, TurnRecords, Windows
from domain.usage import CAUTION
from domain.window import CUT, Exchange, Past, longest_message

CUT_TOKENS = 4  # of CUT, and of words that are counted otherwise where a text ends in them


@dataclass(frozen=True, slots=True)
class Recollection:
    """How a turn's past is found. `tokens`: what a window may hold (MOORAGE_HISTORY_TOKENS)."""

    turns: TurnRecords
    windows: Windows
    tokenizer: Tokenizer
    tokens: int

    async def past(self, principal: Principal, turn: Turn) -> Past:
        """Of this turn; of a rerun the original's."""
        if turn.origin is not None:
            return await self._found(principal, turn.origin)
        if turn.seq == 1:
            return Past()
        kept = await self.windows.get(principal, turn.conversation_id, turn.seq)
        return await self.stored(principal, turn) if kept is None else kept

    async def stored(self, principal: Principal, turn: Turn) -> Past:
        """The same from the database, whatever Redis has; and then into Redis."""
        past = await self._found(principal, Place(turn.conversation_id, turn.seq))
        await self.windows.put(principal, turn.conversation_id, turn.seq, past)
        return past

    async def answered(self, principal: Principal, turn: Turn, past: Past, answer: Answer) -> None:
        """Keep at hand what the next turn will ask for."""
        exchange = Exchange(turn.seq, turn.question, turn.question_tokens, answer.text, answer.answer_tokens)
        following = past.then(await self._fitted(exchange))
        await self.windows.put(principal, turn.conversation_id, turn.seq + 1, following)

    async def fitted(self, text: str, tokens: int, most: int) -> tuple[str, int]:
        """A text of so many tokens, and its tokens. Of one that has more than `most` the beginning, and a mark.

        People and models say first what it is about; a message that is dropped is missed, half of one is seen to be.
        """
        if tokens <= most:
            return text, tokens
        cuts = await self.tokenizer.cuts(text, int(most / CAUTION) - CUT_TOKENS)
        return text[: cuts[0]].rstrip() + CUT if cuts else text, most

    async def _found(self, principal: Principal, place: Place) -> Past:
        found = await self.turns.past(principal, place.conversation_id, place.seq)
        return replace(found, exchanges=tuple([await self._fitted(exchange) for exchange in found.exchanges]))

    async def _fitted(self, exchange: Exchange) -> Exchange:
        most = longest_message(self.tokens)
        question, question_tokens = await self.fitted(exchange.question, exchange.question_tokens, most)
        answer, answer_tokens = await self.fitted(exchange.answer, exchange.answer_tokens, most)
        return Exchange(exchange.seq, question, question_tokens, answer, answer_tokens)
