"""Words about how fast a provider may be asked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lane:
    """What shares one pace: an endpoint and a purpose, nothing of any tenant's.

    The patient leave the last free places to those whom somebody waits for, and queue among themselves.
    """

    name: str
    patient: bool = False
