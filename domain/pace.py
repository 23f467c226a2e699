"""Words about how fast a provider may be asked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lane:
    """What shares one pace: an endpoint and a purpose, nothing of any tenant's.

    The patient keep to the learned rate and queue among themselves. The others, for whom somebody waits and whose
    calls are small, are kept out by a pause only; the patient pay for them.
    """

    name: str
    patient: bool = False
