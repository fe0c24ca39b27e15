"""A clock that tests put forward."""

import time


class Clock:
    """Goes with the real one, and can be put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s
