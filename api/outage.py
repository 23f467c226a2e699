"""What one process knows of a Temporal that does not answer: nobody waits to hear it again."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from domain.errors import TemporalUnavailable

AGAIN = 2.0  # seconds until somebody tries it again


class Outage:
    """One call that got no answer while none got one is an outage; a call that others overtook was only slow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0
        self._answered = 0.0

    @contextmanager
    def noticed(self) -> Iterator[None]:
        """Around a call. Raises TemporalUnavailable at once while the last one that tried got no answer."""
        began = self._clock()
        if began < self._until:
            raise TemporalUnavailable
        try:
            yield
        except TemporalUnavailable:
            if self._answered < began:
                self._until = self._clock() + AGAIN
            raise
        self._answered = self._clock()
