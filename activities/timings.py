"""How long the stages of a turn take."""

import time


def milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 2)


def since(began: float) -> float:
    """Milliseconds since a moment of `time.perf_counter`."""
    return milliseconds(time.perf_counter() - began)
