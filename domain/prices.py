"""What tokens cost: a price for a model from a day on, and money as whole billionths of a currency."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

BILLIONTHS = 1_000_000_000
PER_TOKEN = BILLIONTHS // 1_000_000  # billionths for a token at a price of 1 per million tokens


@dataclass(frozen=True, slots=True)
class Price:
    """In the list's currency for a million tokens. `model` is a name, or its beginning and `*`."""

    model: str
    since: datetime
    prompt: Decimal
    completion: Decimal

    def covers(self, model: str) -> bool:
        return model.startswith(self.model[:-1]) if self.model.endswith("*") else model == self.model

    @property
    def rank(self) -> tuple[bool, int, datetime]:
        """Of several that cover a model: the exact name, then the longest beginning, then the latest."""
        return (not self.model.endswith("*"), len(self.model), self.since)


@dataclass(frozen=True, slots=True)
class Prices:
    """Without an entry, nothing has a price."""

    currency: str = ""
    entries: Sequence[Price] = ()

    def price(self, model: str, at: datetime) -> Price | None:
        valid = [price for price in self.entries if price.covers(model) and price.since <= at]
        return max(valid, key=lambda one: one.rank, default=None)

    def cost(self, model: str, prompt_tokens: int, completion_tokens: int, at: datetime) -> int | None:
        """Billionths, by the price that was valid at that moment; None without one."""
        price = self.price(model, at)
        if price is None:
            return None
        exact = PER_TOKEN * (prompt_tokens * price.prompt + completion_tokens * price.completion)
        return int(exact.to_integral_value(ROUND_HALF_EVEN))


def money(billionths: int) -> float:
    """For people and for JSON; sums are made of whole billionths."""
    return billionths / BILLIONTHS
