"""A caller's side of liveness: streams of which nothing is heard any more are given up.

A stage says that it is alive as `heartbeats` does. One watch looks after all streams that a process
has of a stage, with one timer.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Protocol, TypeVar

from deployments.errors import ReplicaHangs
from deployments.liveness.ticks import TICK_S, Ticks
from deployments.messages import Heartbeat, SpeechDelta, ThinkerDelta
from deployments.resume import is_cancelled

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
        self._silence_s = silence_s
        self._ticks = Ticks()
        self._has_heard = False

    def hears_heartbeats(self) -> bool:
        """Whether the stage is known to send heartbeats. Older versions of it do not."""
        return self._has_heard

    async def over(self, response: Response[D]) -> AsyncGenerator[D]:
        """All that comes, heartbeats too. Closing this ends the call.

        Only a replica that sends heartbeats can be missed, and only while somebody reads.

        Raises:
            ReplicaHangs: nothing was heard for `silence_s`, or the replica says that its engine
                is stuck.
        """
        stream = _Stream(response, self._silence_s)
        self._ticks.join(stream.on_tick)
        try:
            stream.is_read = True
            async for delta in response:
                stream.is_read, stream.silent_s = False, 0.0
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
            raise stream.lost from None
        finally:
            self._ticks.leave(stream.on_tick)
            response.cancel()  # does nothing to an answer that is complete


class _Stream:
    """What is known of one stream's replica."""

    def __init__(self, response: Response[Any], silence_s: float) -> None:
        self.is_read = False
        self.replica = ""
        self.silent_s = 0.0
        self.lost: ReplicaHangs | None = None
        self._response = response
        self._silence_s = silence_s
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
        if late or not self.is_read or not self._beats or self.lost is not None:
            return
        self.silent_s += TICK_S
        if self.silent_s >= self._silence_s:
            self.lost = ReplicaHangs(self.replica, f"no heartbeat for {self.silent_s:.1f} s")
            self._response.cancel()
