"""The scripted provider's own record of what it was asked: the truth that ledgers are compared with."""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tests.provider.script import Ask, Kind

PENDING, LEFT = 0, 499  # not answered yet; the client closed the connection first


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `status` is 0 while it is being answered and 499 when the client left before the end."""

    number: int
    kind: Kind
    model: str
    messages: tuple[dict[str, Any], ...]
    input: tuple[str, ...]
    temperature: float | None
    max_tokens: int | None
    stream: bool
    api_key: str
    at: datetime
    body: dict[str, Any]  # all of the request
    status: int = PENDING
    prompt_tokens: int = 0
    completion_tokens: int = 0
    delivered: bool = False  # the whole reply was sent

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "at": self.at.isoformat()}


class Calls:
    """At most `largest` calls, the oldest forgotten first."""

    def __init__(self, largest: int = 100_000) -> None:
        self._calls: dict[int, Call] = {}
        self._largest = largest
        self._numbers = 0

    def all(self) -> list[Call]:
        return list(self._calls.values())

    def clear(self) -> None:
        self._calls.clear()

    def open(self, ask: Ask, api_key: str) -> Call:
        self._numbers += 1
        call = Call(
            number=self._numbers,
            kind=ask.kind,
            model=ask.model,
            messages=tuple(ask.messages),
            input=tuple(ask.inputs),
            temperature=ask.body.get("temperature"),
            max_tokens=ask.max_tokens,
            stream=ask.stream,
            api_key=api_key,
            at=datetime.now(UTC),
            body=ask.body,
        )
        self._calls[call.number] = call
        if len(self._calls) > self._largest:
            del self._calls[next(iter(self._calls))]
        return call

    def note(self, number: int, **facts: Any) -> None:
        if number in self._calls:
            self._calls[number] = replace(self._calls[number], **facts)
