"""What a session of faults came to: printed at its end."""

from dataclasses import dataclass, field
from statistics import quantiles

from tests.faults.nemesis import Nemesis


@dataclass
class Figures:
    nemesis: Nemesis
    resumed: list[float] = field(default_factory=list)  # seconds by which work was late whose worker was killed in it
    scenarios: int = 0
    documents: int = 0
    turns: int = 0
    repeated: int = 0  # attempts of activities beyond the first
    surplus: int = 0  # provider calls that were delivered to workers that died: listed by estimate, counted by nobody
    calls: int = 0

    def lines(self) -> list[str]:
        times = [death.seconds for death in self.nemesis.deaths]
        return [
            f"scenarios checked        {self.scenarios}",
            f"processes killed         {len(times) + self.nemesis.downs}",
            f"back and ready           {_spread(times)}",
            f"killed work late by      {_spread(self.resumed)}",
            f"documents, turns         {self.documents}, {self.turns}: none lost, none twice",
            f"activities run again     {self.repeated}",
            f"provider calls           {self.calls}, of them by workers that died {self.surplus}",
        ]


def _spread(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return "-"
    cuts = quantiles(seconds, n=100, method="inclusive")
    return f"p50 {cuts[49]:.1f} s, p99 {cuts[98]:.1f} s"
