"""What a run tells while it lasts, and what one reader of it is to be told: everything once, nothing of an attempt
that is over, and one end.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from domain.runs import State

POSITION = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?")
BEGINNING = "0-0"
BEGINNINGS = ("0", "-1", BEGINNING)


class EventKind(StrEnum):
    RUN = "run"  # told first, to each reader
    STEP = "step"
    PROGRESS = "progress"
    SOURCES = "sources"
    TOKEN = "token"  # noqa: S105 - the word is fixed by the contract
    RESET = "reset"  # what was said so far does not count
    RESUMED = "resumed"  # it was parked; nobody is told, who reads sees the next step
    DONE = "done"
    ERROR = "error"
    CANCELLED = "cancelled"
    PARKED = "parked"


TOLD_BY = {  # how a run that has come to this state says so
    State.RUNNING: EventKind.RESUMED,
    State.PARKED: EventKind.PARKED,
    State.SUCCEEDED: EventKind.DONE,
    State.PARTIAL: EventKind.DONE,
    State.FAILED: EventKind.ERROR,
    State.CANCELLED: EventKind.CANCELLED,
}
CLOSING = frozenset({EventKind.DONE, EventKind.ERROR, EventKind.CANCELLED, EventKind.PARKED})
SPEECH = frozenset({EventKind.SOURCES, EventKind.TOKEN, EventKind.RESET})  # of one attempt; a later one begins anew


@dataclass(frozen=True, slots=True)
class Event:
    """`id` is the stream's own, `milliseconds-number`; empty for words that were made for one reader only."""

    id: str
    kind: EventKind
    data: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 1

    @property
    def text(self) -> str:
        return str(self.data.get("text", ""))


def position(event_id: str) -> tuple[int, int] | None:
    """Ids in the order of their events; None for what is no id."""
    match = POSITION.fullmatch(event_id)
    return (int(match[1]), int(match[2] or 0)) if match else None


class Relay:
    """One reader's way through a run's events. `after` is the id of the last one it has seen."""

    def __init__(self, after: str | None = None) -> None:
        self._after = position(after) if after and after not in BEGINNINGS else None
        self._attempt = 0
        self._said: list[str] = []

    def begin(self, kept: Sequence[Event]) -> list[Event]:
        """What of the past is to be told. An `after` that is not kept any more begins with a reset."""
        if self._after is not None and self._after not in {position(event.id) for event in kept}:
            self._after = None
            return [_reset(self._latest(kept)), *self.tell(kept)]
        return self.tell(kept)

    def tell(self, events: Sequence[Event]) -> list[Event]:
        return [event for event in events if self._is_due(event) and self._is_new(event)]

    def end(self, answer: str | None) -> list[Event]:
        """What is still to be said so that what was said since the last reset is the answer; None has no words."""
        if answer is None or "".join(self._said) == answer:
            return []
        self._said = [answer]
        return [_reset(max(self._attempt, 1)), *([Event("", EventKind.TOKEN, {"text": answer})] if answer else [])]

    def _latest(self, kept: Sequence[Event]) -> int:
        return max((event.attempt for event in kept if event.kind in SPEECH), default=1)

    def _is_due(self, event: Event) -> bool:
        """Keeps account of what is said, told or not; a worker that was given up may still be speaking."""
        if event.kind in SPEECH:
            if event.attempt < self._attempt:
                return False
            self._attempt = event.attempt
        if event.kind is EventKind.RESET:
            self._said.clear()
        elif event.kind is EventKind.TOKEN:
            self._said.append(event.text)
        return event.kind not in CLOSING and event.kind is not EventKind.RESUMED

    def _is_new(self, event: Event) -> bool:
        return self._after is None or (position(event.id) or (0, 0)) > self._after


def _reset(attempt: int) -> Event:
    """Of one reader's. Whoever leaves right after it has nothing, and comes back for everything."""
    return Event(BEGINNING, EventKind.RESET, {"attempt": attempt})
