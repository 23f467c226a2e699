"""What a session of faults came to: printed at its end."""

from dataclasses import dataclass
from statistics import quantiles

from tests.faults.nemesis import Nemesis


@dataclass
class Figures:
    nemesis: Nemesis
    scenarios: int = 0
    documents: int = 0
    turns: int = 0
    repeated: int = 0  # attempts of activities beyond the first
    surplus: int = 0  # provider calls that were delivered and are in no ledger: their worker died
    calls: int = 0

    def lines(self) -> list[str]:
        times = [death.seconds for death in self.nemesis.deaths]
        cuts = quantiles(times, n=100) if len(times) > 1 else [0.0] * 99
        return [
            f"scenarios checked        {self.scenarios}",
            f"processes killed         {len(times) + self.nemesis.downs}",
            f"back and ready           p50 {cuts[49]:.1f} s, p99 {cuts[98]:.1f} s",
            f"documents, turns         {self.documents}, {self.turns}: none lost, none twice",
            f"activities run again     {self.repeated}",
            f"provider calls           {self.calls}, of them by workers that died {self.surplus}",
        ]
