"""What the scripted provider is told to do wrong, and when."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Self

Kind = Literal["chat", "embedding", "models"]
CANARY = "canary-words-of-the-provider"  # in every error's message: whoever repeats a provider's words shows it
USAGE_ERROR = {"prompt_tokens": -5, "completion_tokens": -7, "total_tokens": -12}


@dataclass(frozen=True, slots=True)
class Ask:
    """One request as a rule sees it."""

    kind: Kind
    body: dict[str, Any]

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def messages(self) -> list[dict[str, Any]]:
        return list(self.body.get("messages") or [])

    @property
    def inputs(self) -> list[str]:
        found = self.body.get("input") or []
        return [found] if isinstance(found, str) else list(found)

    @property
    def stream(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def max_tokens(self) -> int | None:
        return self.body.get("max_completion_tokens") or self.body.get("max_tokens")


@dataclass(frozen=True, slots=True)
class Fault:
    """One request gone wrong; the fields that are set say how. Nothing set: an ordinary reply, to count one off.

    Faults are taken in the order they were scripted, each by the first request that it fits, `times` times.
    """

    status: int | None = None  # an error reply with this status
    code: str | None = None  # its `error.code`
    retry_after: float | str | None = None  # seconds, or an HTTP date
    retry_after_ms: float | None = None
    hang_at: int | None = None  # tokens that are sent before silence; 0: not even a head
    cut_at: int | None = None  # tokens that are sent before the connection is reset
    end_at: int | None = None  # tokens that are sent before the stream ends politely, without a finish reason
    error_at: int | None = None  # tokens that are sent before an error event with `code`
    body: str | None = None  # this body with status 200 in place of any reply; "\udcff" in it is the byte FF
    text: str | None = None  # this answer, raw: it may hold what no tokenizer would make
    usage: dict[str, Any] | None = None  # in place of the true one; {}: none
    finish: str | None = None
    model: str | None = None
    vectors: Literal["few", "short", "long", "nan", "zero", "shuffled", "unpacked"] | None = None
    largest: int | None = None  # inputs; only a call with more of them fits this fault, and is answered 413
    kind: Kind | None = None
    fits: Callable[[Ask], bool] | None = field(default=None, compare=False)
    times: int = 1

    @classmethod
    def none(cls, times: int = 1) -> Self:
        return cls(times=times)

    @classmethod
    def hang(cls, after: int = 0) -> Self:
        """Silence after that many tokens; after none, not even a head is sent."""
        return cls(hang_at=after)

    @classmethod
    def cut_after(cls, tokens: int) -> Self:
        return cls(cut_at=tokens)

    @classmethod
    def end_after(cls, tokens: int) -> Self:
        return cls(end_at=tokens)

    @classmethod
    def error_after(cls, tokens: int, code: str) -> Self:
        return cls(error_at=tokens, code=code)

    @classmethod
    def malformed(cls, body: str = f"<html>{CANARY}</html>") -> Self:
        return cls(body=body)

    @classmethod
    def no_usage(cls) -> Self:
        return cls(usage={})

    @classmethod
    def absurd_usage(cls) -> Self:
        return cls(usage=USAGE_ERROR)

    @property
    def interrupts(self) -> bool:
        """It happens in the middle of a stream."""
        return any(at is not None for at in (self.hang_at, self.cut_at, self.end_at, self.error_at))

    def concerns(self, ask: Ask) -> bool:
        if self.kind not in (None, ask.kind) or (self.largest and len(ask.inputs) <= self.largest):
            return False
        return self.fits is None or self.fits(ask)


ORDINARY = Fault()


class Script:
    """The faults that are still to come."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Fault, int]] = []

    def add(self, *faults: Fault) -> None:
        self._waiting += [(fault, fault.times) for fault in faults]

    def clear(self) -> None:
        self._waiting.clear()

    def next(self, ask: Ask) -> Fault:
        for at, (fault, left) in enumerate(self._waiting):
            if fault.concerns(ask):
                self._waiting[at : at + 1] = [(fault, left - 1)] if left > 1 else []
                return fault
        return ORDINARY
