"""A measured quantity, and many of them as a Markdown table."""

import statistics
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

HEAD = "| figure | unit | min | median | max | target |\n|---|---|--:|--:|--:|---|"


@dataclass(frozen=True, slots=True)
class Figure:
    """One value a repeat; `digits` after the point."""

    name: str
    unit: str
    values: Sequence[float]
    target: str = ""
    digits: int = 1

    def row(self) -> str:
        spread = (min(self.values), statistics.median(self.values), max(self.values))
        cells = [f"{value:.{self.digits}f}" for value in spread]
        return " | ".join(["", self.name, self.unit, *cells, self.target, ""]).strip()


async def show(measured: AsyncIterator[Sequence[Figure]]) -> None:
    """Print each row as soon as it is measured: who ends a long run keeps what it had."""
    print(HEAD, flush=True)
    async for figures in measured:
        for figure in figures:
            print(figure.row(), flush=True)


def p(values: Sequence[float], quantile: float) -> float:
    """The quantile (0 to 1) of what was measured, by nearest rank."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, round(quantile * (len(ranked) - 1)))]
