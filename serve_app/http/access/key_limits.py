"""What one API key may still use. Pure: the clock is an argument."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployments.errors import ConfigError, LimitReached
from serve_app.http.rate_headers import RequestsLeft
from serve_app.http.settings import HttpSettings, KeyLimits

MINUTE_S, HOUR_S = 60.0, 3600.0
AUDIO_LEFT_S = 1.0  # of sound that must be left for one more answer
NowS = Callable[[], float]


class TokenBucket:
    """Holds `capacity` tokens at most, and gets as many again, evenly, in `period_s`.

    More may be spent than there is: its level falls below zero then.
    """

    def __init__(self, capacity: float, period_s: float, now_s: NowS) -> None:
        self._capacity, self._period_s = capacity, period_s
        self._now_s = now_s
        self._level, self._at_s = capacity, now_s()

    def wait_s(self, tokens: float) -> float:
        """How long until it holds `tokens`, or all that it can hold; 0 if it does."""
        missing = min(tokens, self._capacity) - self._now()
        return max(0.0, missing * self._period_s / self._capacity)

    def left(self) -> float:
        """The tokens that it holds now; below zero if too many were spent."""
        return self._now()

    def spend(self, tokens: float) -> None:
        """Take `tokens` out."""
        self._level = self._now() - tokens

    def _now(self) -> float:
        now_s = self._now_s()
        gained = (now_s - self._at_s) * self._capacity / self._period_s
        self._level, self._at_s = min(self._capacity, self._level + gained), now_s
        return self._level


class Allowance:
    """The limits of one key, and what it has used of them in this process."""

    def __init__(
        self,
        name: str,
        limits: KeyLimits,
        replicas: int = 1,
        retry_after_s: float = 1.0,
        now_s: NowS = time.monotonic,
    ) -> None:
        """
        Args:
            name: the key's.
            limits: for all replicas of the ingress together; this one grants its part of them.
            replicas: how many there are.
            retry_after_s: told to a key that has as many streams as it may have.
            now_s: a monotonic clock, in seconds.
        """
        self._name, self._limits = name, limits
        self._retry_after_s = retry_after_s
        self._streams = self._sessions = 0
        self._most_sessions = _part(limits.open_sessions, replicas)
        self._most_streams = _part(limits.concurrent_streams, replicas)
        requests = _part(limits.requests_per_minute, replicas)
        self._requests = None if requests is None else TokenBucket(requests, MINUTE_S, now_s)
        self._audio = [
            (f"use {amount:g} s of audio in {period}", TokenBucket(amount / replicas, s, now_s))
            for amount, period, s in (
                (limits.audio_s_per_minute, "a minute", MINUTE_S),
                (limits.audio_s_per_hour, "an hour", HOUR_S),
            )
            if amount is not None
        ]

    @property
    def counts_audio(self) -> bool:
        """Whether anybody needs to call `spend_audio`."""
        return bool(self._audio)

    def requests_left(self) -> RequestsLeft | None:
        """What this replica still grants of the requests of a minute; None if they have no limit.

        A request that is under way is counted already.
        """
        limit = self._limits.requests_per_minute
        if self._requests is None or limit is None:
            return None
        left = max(0, math.floor(self._requests.left()))
        return RequestsLeft(limit, left, reset_s=self._requests.wait_s(math.inf))

    @contextmanager
    def stream(self) -> Iterator[None]:
        """One request, from its headers to the end of its answer.

        Raises:
            LimitReached: the key has no room for it.
        """
        self._require_room()
        self._spend_request()
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    @contextmanager
    def session(self) -> Iterator[None]:
        """One WebSocket while it is open. It is a request; its answers are `stream`s of their own.

        Raises:
            LimitReached: the key has no room for it.
        """
        if self._most_sessions is not None and self._sessions >= self._most_sessions:
            what = f"have {self._limits.open_sessions} sessions open at once"
            raise LimitReached(self._name, what, self._retry_after_s)
        self._spend_request()
        self._sessions += 1
        try:
            yield
        finally:
            self._sessions -= 1

    def spend_audio(self, seconds: float) -> None:
        """Count sound that was heard or spoken, even if the key has no such seconds left."""
        for _, bucket in self._audio:
            bucket.spend(seconds)

    def _require_room(self) -> None:
        if self._most_streams is not None and self._streams >= self._most_streams:
            what = f"have {self._limits.concurrent_streams} requests under way at once"
            raise LimitReached(self._name, what, self._retry_after_s)
        for what, bucket in self._audio:
            if wait_s := bucket.wait_s(AUDIO_LEFT_S):
                raise LimitReached(self._name, what, wait_s)

    def _spend_request(self) -> None:
        """Count a request. Raises LimitReached if none is left."""
        if self._requests is None:
            return
        if wait_s := self._requests.wait_s(1):
            what = f"send {self._limits.requests_per_minute} requests in a minute"
            raise LimitReached(self._name, what, wait_s)
        self._requests.spend(1)


def allowances(
    settings: HttpSettings, names: frozenset[str], replicas: int = 1
) -> dict[str, Allowance]:
    """The allowance of each key that has limits, by the key's name.

    Raises:
        ConfigError: limits of a key that is not there, or limits and no key at all.
    """
    unknown = sorted(settings.limits_of_key.keys() - names)
    if unknown:
        raise ConfigError(f"http.limits_of_key names {unknown[0]!r}, but no API key has that name")
    if settings.key_limits != KeyLimits() and not names:
        raise ConfigError("http.key_limits limits API keys, but there is none: set http.api_keys")
    limits = {name: settings.limits_of_key.get(name, settings.key_limits) for name in names}
    return {
        name: Allowance(name, one, replicas, settings.retry_after_s)
        for name, one in limits.items()
        if one != KeyLimits()
    }


def _part(amount: int | None, replicas: int) -> int | None:
    """This replica's part of a limit, one at least."""
    return None if amount is None else -(-amount // replicas)
