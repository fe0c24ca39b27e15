"""Whether Ray Serve stops the replica that this is.

Serve waits for all requests of a replica that it stops, and tells the replica nothing. A WebSocket
is such a request, and may be open for an hour. What can be seen from inside is that Serve's
controller asks no more for the replica's health. It does not either while it restarts, so it is
asked in turn.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from ray import serve
from ray.serve.context import _get_global_client

logger = logging.getLogger(__name__)

UNASKED_S = 4.0  # the controller asks every second (`health_check_period_s`)
LOOK_EVERY_S = 1.0
LOOKS = 2  # that agree
STOPPING = "STOPPING"


class StopWatch:
    """Notes when the controller asks for the replica's health."""

    def __init__(
        self,
        is_stopping: Callable[[], bool] | None = None,
        unasked_s: float = UNASKED_S,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """`is_stopping` asks the controller, and may block."""
        self._is_stopping = is_stopping or controller_stops_this_replica
        self._unasked_s = unasked_s
        self._look_every_s = look_every_s
        self._asked_at_s = time.monotonic()

    def asked(self) -> None:
        """The controller asked for the replica's health just now."""
        self._asked_at_s = time.monotonic()

    async def stopped(self) -> None:
        """Wait until Serve stops this replica, by what its controller says twice in a row."""
        found = 0
        while found < LOOKS:
            await asyncio.sleep(self._look_every_s)
            found = found + 1 if await self._looks_stopped() else 0

    async def _looks_stopped(self) -> bool:
        if time.monotonic() - self._asked_at_s < self._unasked_s:
            return False
        try:
            return await asyncio.to_thread(self._is_stopping)
        except Exception as error:  # of Ray, of any kind: the controller is not there
            logger.info("Serve's controller cannot be asked: %s", type(error).__name__)
            return False


def controller_stops_this_replica() -> bool:
    """Ask Ray Serve's controller. It lists no replica of an application that it deletes."""
    replica = serve.get_replica_context()
    details = _get_global_client().get_serve_details()
    application = details.get("applications", {}).get(replica.app_name, {})
    deployment = application.get("deployments", {}).get(replica.deployment, {})
    return not any(
        each["replica_id"] == replica.replica_tag and each["state"] != STOPPING
        for each in deployment.get("replicas", ())
    )
