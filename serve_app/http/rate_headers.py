"""What an answer says of its key's limit, in OpenAI's headers: pure."""

import math
from dataclasses import dataclass

LIMIT = "x-ratelimit-limit-requests"
REMAINING = "x-ratelimit-remaining-requests"
RESET = "x-ratelimit-reset-requests"
RATE_HEADERS = (LIMIT, REMAINING, RESET)


@dataclass(frozen=True, slots=True)
class RequestsLeft:
    """How many requests a key may send, how many of them are left, and when all are again."""

    limit: int
    remaining: int
    reset_s: float

    def headers(self) -> dict[str, str]:
        """The same under OpenAI's names."""
        values = (str(self.limit), str(self.remaining), duration(self.reset_s))
        return dict(zip(RATE_HEADERS, values, strict=True))


def duration(seconds: float) -> str:
    """A duration as Go writes it and OpenAI sends it: `0s`, `20ms`, `1.5s`, `6m0s`."""
    whole_ms = math.ceil(1000 * seconds)
    if 0 < whole_ms < 1000:
        return f"{whole_ms}ms"
    minutes, rest_ms = divmod(whole_ms, 60_000)
    rest = f"{rest_ms / 1000:g}s"
    return f"{minutes}m{rest}" if minutes else rest
