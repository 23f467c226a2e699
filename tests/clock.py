"""A clock that stands still until a test moves it."""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0  # seconds

    def __call__(self) -> float:
        return self.now
