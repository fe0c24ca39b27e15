"""A caller's side of liveness: streams of which nothing is heard any more are given up.

A stage says that it is alive as `heartbeats` does. One watch looks after all streams that a process
has of a stage, with one timer.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Protocol, TypeVar

from deployments.errors import EngineLost, ReplicaHangs
from deployments.liveness.routes import ROUTES, Route
from deployments.liveness.ticks import TICK_S, Ticks
from deployments.messages import (
    Heartbeat,
    SpeechDelta,
    SpeechRequest,
    ThinkerDelta,
    ThinkerRequest,
)
from deployments.resume import NotBegun, is_cancelled

R = TypeVar("R", ThinkerRequest, SpeechRequest)
D = TypeVar("D", ThinkerDelta, SpeechDelta)
Sent = TypeVar("Sent", ThinkerDelta, SpeechDelta, covariant=True)


class Response(Protocol[Sent]):
    """A call of a stage that streams, as Ray Serve's handles give it."""

    def __aiter__(self) -> AsyncIterator[Sent]: ...

    def cancel(self) -> None:
        """End the call. Whoever reads it gets an error, also when the replica says nothing."""


class Watch:
    """Gives up the streams of those replicas of a stage that hang."""

    def __init__(self, silence_s: float) -> None:
        """`silence_s`: a replica of which nothing is heard for so long hangs."""
        self.silence_s = silence_s
        self._ticks = Ticks()
        self._has_heard = False

    def hears_heartbeats(self) -> bool:
        """Whether the stage is known to send heartbeats. Older versions of it do not."""
        return self._has_heard

    async def over(self, call: Callable[[R], Response[D]], request: R) -> AsyncGenerator[D]:
        """All that comes of a `call`, heartbeats too. Closing this ends it.

        Only a replica that sends heartbeats can be missed, and only while somebody reads. The
        replicas of a stage that sends them are missed from the moment that they get the request.
        One that the request avoids gets it only where there is no other, and has more time.

        Raises:
            ReplicaHangs: nothing was heard for `silence_s`, or the replica says that its engine
                is stuck.
            NotBegun: nothing was ever heard of the replica that the request was sent to.
        """
        route = ROUTES.begin(request)
        response = call(request)
        stream = _Stream(response, route, request.avoid, self)
        self._ticks.join(stream.on_tick)
        try:
            stream.is_read = True
            async for delta in response:
                stream.is_read, stream.silent_s, stream.has_begun = False, 0.0, True
                stream.replica = delta.replica or stream.replica
                if delta.heartbeat is not None:
                    self._has_heard = True
                    stream.hear(delta.heartbeat)
                yield delta
                stream.is_read = True
        except (Exception, asyncio.CancelledError) as error:
            cancelled = isinstance(error, asyncio.CancelledError) and is_cancelled()
            if stream.lost is None or cancelled:
                raise
            try:
                raise stream.lost from None
            finally:
                stream.lost = None  # its traceback knows this frame
        finally:
            ROUTES.end(request)
            self._ticks.leave(stream.on_tick)
            response.cancel()  # does nothing to an answer that is complete


class _Stream:
    """What is known of one stream's replica."""

    def __init__(
        self, response: Response[Any], route: Route, avoid: tuple[str, ...], watch: Watch
    ) -> None:
        self.is_read = self.has_begun = False
        self.replica = ""
        self.silent_s = 0.0
        self.lost: EngineLost | None = None
        self._response = response
        self._route = route
        self._avoid = avoid
        self._watch = watch
        self._beats = False

    def hear(self, heartbeat: Heartbeat) -> None:
        """Raise ReplicaHangs where the engine is stuck."""
        self._beats = True
        if heartbeat.stuck:
            self.lost = ReplicaHangs(
                self.replica, f"its engine has been in one step for {heartbeat.step_s:.1f} s"
            )
            raise self.lost

    def on_tick(self, late: bool) -> None:
        """Count the silence. After a late tick it is not known yet what has come meanwhile."""
        if late or not self.is_read or self.lost is not None or not self._is_due():
            return
        self.silent_s += TICK_S
        if self.silent_s >= self._watch.silence_s:
            self.lost = self._loss()
            self._response.cancel()

    def _is_due(self) -> bool:
        """Whether a replica that works would say something in time."""
        if self.has_begun:
            return self._beats
        if self._route.replica != self.replica:
            # Of the tick under way a part had passed before.
            self.replica, self.silent_s = self._route.replica, -TICK_S
        knows = self.replica not in ("", *self._avoid)
        return knows and self._watch.hears_heartbeats()

    def _loss(self) -> EngineLost:
        if self.has_begun:
            return ReplicaHangs(self.replica, f"no heartbeat for {self.silent_s:.1f} s")
        return NotBegun(self.silent_s, self.replica)
