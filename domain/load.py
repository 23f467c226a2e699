"""When more is asked than can be answered: who is let in all the same, and when the others may come back."""

from dataclasses import dataclass
from datetime import timedelta

SOONEST, LATEST = timedelta(seconds=2), timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Tasks of a queue that no worker has taken yet, about, and since when the oldest of them waits."""

    tasks: int
    oldest: timedelta

    @property
    def passes_after(self) -> timedelta:
        """As long again as the oldest has waited, within reason."""
        return min(max(self.oldest, SOONEST), LATEST)


@dataclass(frozen=True, slots=True)
class Share:
    """Questions that are open: `mine` of one tenant, in a crowd of so many tenants with open ones."""

    mine: int
    tenants: int

    def exceeds(self, most: int) -> bool:
        """Nobody is sent away for what others ask: each tenant may have its part of the backlog."""
        return self.mine * max(1, self.tenants) >= most
