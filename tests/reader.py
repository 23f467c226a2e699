"""A client of Server-Sent Events that puts a stream together as the contract says, over any number of connections."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

ENDS = ("done", "error", "cancelled", "parked")


@dataclass
class Reader:
    events: list[tuple[str, str, Any]] = field(default_factory=list)  # (id, event, data)
    last: str = ""

    @property
    def kinds(self) -> list[str]:
        return [kind for _, kind, _ in self.events]

    @property
    def text(self) -> str:
        said = ""
        for _, kind, data in self.events:
            said = "" if kind == "reset" else said + data["text"] if kind == "token" else said
        return said

    @property
    def end(self) -> Any:
        """The data of the closing event, of which there is one."""
        (end,) = [data for _, kind, data in self.events if kind in ENDS]
        assert self.kinds[-1] in ENDS
        return end

    async def read(self, lines: AsyncIterator[str], most: int | None = None) -> None:
        """To the end, or until so many more events have come."""
        fields: dict[str, str] = {}
        async for line in lines:
            if line.startswith(":"):
                continue
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
                continue
            self.last = fields.get("id", self.last)
            self.events.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
            fields = {}
            if most is not None and len(self.events) >= most:
                return
