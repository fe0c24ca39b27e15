"""Calls of the stages through Ray's handles, whose streams go on when a replica is lost."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from deployments.errors import EngineFailed, EngineLost
from deployments.liveness.watch import Watch
from deployments.messages import SpeechDelta, SpeechRequest, ThinkerDelta, ThinkerRequest
from deployments.metrics import RESUMED, recorder
from deployments.ray_failures import FULL, NO_REPLICA, unwrap
from deployments.refusals import R, asked_until_one_has_room
from deployments.resume import (
    D,
    Policy,
    Progress,
    Recovery,
    SpokenProgress,
    Tries,
    WrittenProgress,
    resumed,
)
from deployments.traced_attempts import Attempts

logger = logging.getLogger(__name__)

Call = Callable[[Any], Any]
"""`handle.method.remote` of a handle that streams."""


async def written(
    request: ThinkerRequest,
    call: Call,
    recovery: Recovery,
    tries: Tries,
    watch: Watch,
    on_loss: Callable[[], EngineFailed] | None = None,
) -> AsyncGenerator[ThinkerDelta]:
    """The Thinker's answer. Closing it aborts it.

    Raises:
        `on_loss()`, if there is one, where no replica could go on; else what the last one raised.
    """
    progress = WrittenProgress(request)
    attempts = Attempts("Thinker", request)
    async with aclosing(
        _lasting(progress.request, call, progress, recovery, tries, watch, attempts)
    ) as deltas:
        try:
            async for delta in deltas:
                yield delta
        except Exception as error:
            if on_loss is not None and is_lost(error):
                raise on_loss() from error
            raise


async def spoken(
    request: SpeechRequest, call: Call, recovery: Recovery, watch: Watch
) -> AsyncGenerator[SpeechDelta]:
    """Token2Wav's answer. Closing it aborts it."""
    tries = Tries(recovery.tries)
    progress = SpokenProgress(request, tries)
    attempts = Attempts("Token2Wav", request.thinker)
    async with aclosing(
        _lasting(progress.request, call, progress, recovery, tries, watch, attempts)
    ) as deltas:
        async for delta in deltas:
            yield delta


def is_lost(error: BaseException) -> bool:
    """Whether a replica is lost, and the request is not at fault."""
    return isinstance(unwrap(error), (EngineLost, TimeoutError, *NO_REPLICA))


def _lasting(
    request: Callable[[], R],
    call: Call,
    progress: Progress[D],
    recovery: Recovery,
    tries: Tries,
    watch: Watch,
    attempts: Attempts,
) -> AsyncGenerator[D]:
    def is_lost_or_full(error: BaseException) -> bool:
        return is_lost(error) or (tries.spent > 0 and isinstance(unwrap(error), FULL))

    def note(error: BaseException, tries: Tries) -> None:
        logger.warning(
            "%s goes on with another replica, %d tries left: %r",
            attempts.request_id,
            tries.left,
            unwrap(error),
        )
        recorder().record(RESUMED, stage=attempts.stage, cause=type(unwrap(error)).__name__)

    def ask() -> AsyncGenerator[D]:
        def answer(asked: R) -> AsyncGenerator[D]:
            return watch.over(call, asked)

        def attempt(asked: R) -> AsyncGenerator[D]:
            return asked_until_one_has_room(asked, answer, waits=tries.spent > 0)

        return attempts.traced(request(), attempt)

    policy = Policy(is_lost_or_full, note, recovery.patience_s)
    return resumed(ask, progress, tries, policy)
