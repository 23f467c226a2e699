"""What was asked of the platform and what came of it: the history that a failing scenario is explained with."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["invoke", "ok", "fail", "unknown"]


@dataclass(slots=True)
class Operation:
    """`unknown`: no reply, so it may have been done or not, but never twice."""

    number: int
    what: str
    key: str | None
    began: float
    outcome: Outcome = "invoke"
    took: float = 0.0
    status: int = 0
    code: str = ""
    kind: str = ""  # content type
    retry_after: str = ""


@dataclass
class OpLog:
    seed: int
    began: float = field(default_factory=time.monotonic)
    operations: list[Operation] = field(default_factory=list)

    def invoke(self, what: str, key: str | None = None) -> Operation:
        operation = Operation(len(self.operations), what, key, round(time.monotonic() - self.began, 3))
        self.operations.append(operation)
        return operation

    def end(self, operation: Operation, outcome: Outcome, **facts: Any) -> None:
        operation.outcome = outcome
        operation.took = round(time.monotonic() - self.began - operation.began, 3)
        for name, value in facts.items():
            setattr(operation, name, value)

    def dump(self, file: Path) -> None:
        lines = [json.dumps({"seed": self.seed}), *(json.dumps(asdict(one)) for one in self.operations)]
        file.write_text("\n".join(lines) + "\n")
