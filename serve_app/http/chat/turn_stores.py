"""Where spoken answers are kept whose `audio.id` was announced before their tokens existed.

A store keeps sealed bytes by a name. What it gives back is believed only if its seal is right, so
a half-written file is an answer that is not kept, and whoever can write there can forge nothing.
"""

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from deployments.errors import ConfigError, EngineFailed
from deployments.voice_store.fsspec_storage import folder_of
from deployments.weight_files import one_line

logger = logging.getLogger(__name__)
T = TypeVar("T")

ANSWER_WITHIN_S = 5.0  # a folder that does not is taken for one that is not there
SUFFIX = ".turn"
KEY = "http.spoken_turns_folder"
SWEEP_EVERY_S = 300.0  # expired files lie about for so long at most


class TurnStore(Protocol):
    """Keeps bytes by a name until a time."""

    async def put(self, name: str, data: bytes, expires_at: int) -> None:
        """Keep `data` until `expires_at` (Unix time), if there is room so long."""

    async def get(self, name: str, expires_at: int) -> bytes | None:
        """What is kept by `name` until `expires_at`, or None.

        Raises:
            EngineFailed: the store cannot be asked now.
        """


class MemoryTurns:
    """Keeps turns in this process: right for one ingress replica, and gone with it."""

    def __init__(self, capacity: int, clock: Callable[[], float] = time.time) -> None:
        self._capacity = capacity
        self._clock = clock
        self._turns: dict[str, bytes] = {}
        # A heap of expiries, each with the number that its turn came as: a stream's expiry is set
        # when it begins, so turns do not come in the order in which they expire.
        self._expiries: list[tuple[int, int, str]] = []
        self._numbers = itertools.count()

    async def put(self, name: str, data: bytes, expires_at: int) -> None:
        """Keep `data`. What has expired goes, and where there is no room what expires first."""
        self._turns[name] = data
        heapq.heappush(self._expiries, (expires_at, next(self._numbers), name))
        now = self._clock()
        while self._expiries and (
            self._expiries[0][0] <= now or len(self._expiries) > self._capacity
        ):
            del self._turns[heapq.heappop(self._expiries)[-1]]

    async def get(self, name: str, expires_at: int) -> bytes | None:
        return self._turns.get(name)


class FolderTurns:
    """Keeps a file a turn in a folder that all ingress replicas share.

    A file's name begins with its expiry, so that what has expired is found without opening it.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        """`url` is a path from `/` or `~`, or a URL of fsspec's.

        Raises:
            ConfigError: it is neither, or what is there cannot be read.
        """
        self._clock = clock
        self._sweep_at = clock() + SWEEP_EVERY_S
        self._sweep: asyncio.Future[None] | None = None
        self._folder = folder_of(url, KEY)
        try:
            self._folder.names(SUFFIX)
        except Exception as error:  # a file system of any kind
            raise ConfigError(f"{KEY} {url!r} cannot be read: {one_line(error)}") from error

    async def put(self, name: str, data: bytes, expires_at: int) -> None:
        file = _file(name, expires_at)
        try:
            await _within_time(asyncio.to_thread(self._folder.create, file, data))
        except Exception as error:  # the answer itself is unharmed
            logger.warning("a spoken turn could not be kept: %s", one_line(error))
        self._sweep_now_and_then()

    async def get(self, name: str, expires_at: int) -> bytes | None:
        file = _file(name, expires_at)
        try:
            return await _within_time(asyncio.to_thread(self._folder.read, file))
        except FileNotFoundError:
            return None
        except Exception as error:
            logger.error("the folder of spoken turns cannot be read: %s", one_line(error))
            raise EngineFailed("the store of spoken answers does not answer") from error

    def _sweep_now_and_then(self) -> None:
        if self._clock() >= self._sweep_at:
            self._sweep_at = self._clock() + SWEEP_EVERY_S
            self._sweep = asyncio.ensure_future(asyncio.to_thread(self.remove_expired))

    def remove_expired(self) -> None:
        """Remove the files whose time is over; another replica may do the same just now."""
        try:
            for file in self._folder.names(SUFFIX):
                expiry = file.partition("-")[0]
                if expiry.isdecimal() and int(expiry) <= self._clock():
                    self._folder.delete(file)
        except Exception as error:
            logger.info("expired spoken turns were not all removed: %s", one_line(error))


def _file(name: str, expires_at: int) -> str:
    return f"{expires_at}-{name}{SUFFIX}"


async def _within_time(work: Awaitable[T]) -> T:
    return await asyncio.wait_for(work, ANSWER_WITHIN_S)
