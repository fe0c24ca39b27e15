"""Creates, finds, lists, deletes and reads uploaded voices, without blocking an event loop."""

import asyncio
import logging
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from deployments.errors import (
    StepAudioError,
    UnknownVoice,
    VoiceExists,
    VoiceStoreFailed,
    VoiceStoreFull,
)
from deployments.messages import StoredVoice
from deployments.voice_store.fsspec_storage import folder_of
from deployments.voice_store.voice_file import (
    HEAD_BYTES,
    MAX_NAME_CHARS,
    SUFFIX,
    is_id,
    key_of_id,
    key_of_name,
    new_voice,
    recording_in,
    tidy_name,
    to_file,
    voice_in,
)

logger = logging.getLogger(__name__)
T = TypeVar("T")

MAX_AGE_S = 0.5  # of what is known of the store: a deletion elsewhere must count within a second
MAX_KNOWN = 1024
TIMEOUT_S = 10.0  # an object store answers in 0.1 s; a network folder that is gone never does
THREADS = 8  # of its own: a store that hangs must not take the threads that decode recordings
EVERYBODY = ""
"""The owner of voices that everybody may use and delete."""


class VoiceStore:
    """Uploaded voices, of which every process of the graph has such an object of its own.

    A voice is visible everywhere as soon as `create` returns. A deletion is at once visible where
    it was asked for, and within MAX_AGE_S elsewhere.
    """

    def __init__(self, url: str, now_s: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            url: a folder that all machines of the graph share, or a URL of fsspec's.
            now_s: a monotonic clock, in seconds.

        Raises:
            ConfigError: as `folder_of`.
        """
        self._folder = folder_of(url)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="voice-store")
        self._now_s = now_s
        self._known: dict[Hashable, tuple[float, asyncio.Task[Any]]] = {}

    async def create(
        self, name: str, recording: bytes, owner: str = EVERYBODY, limit: int | None = None
    ) -> StoredVoice:
        """Keep a voice.

        Args:
            name: as `tidy_name` gives it; 1 to MAX_NAME_CHARS characters.
            recording: its file.
            owner: who alone may use it, or EVERYBODY.
            limit: how many voices there may be.

        Raises:
            VoiceExists: its owner has a voice of that name.
            VoiceStoreFull: there are `limit` voices.
            VoiceStoreFailed: the store does not answer, or refuses to write.
        """
        voice = new_voice(name, owner, recording)

        def write() -> None:
            if limit is not None and len(self._folder.names(SUFFIX)) >= limit:
                raise VoiceStoreFull(limit)
            try:
                self._folder.create(_file_of(voice), to_file(voice, recording))
            except FileExistsError:
                raise VoiceExists(name) from None

        await self._run(write)
        self._known.clear()
        return voice

    async def find(self, name_or_id: str, owner: str = EVERYBODY) -> StoredVoice | None:
        """The voice of that name or id that `owner` may use: his own before everybody's.

        Raises:
            VoiceStoreFailed: the store does not answer.
        """
        name = tidy_name(name_or_id[: 2 * MAX_NAME_CHARS])
        if not 0 < len(name) <= MAX_NAME_CHARS:
            return None
        return await self._shared((name, owner), lambda: self._look_up(name, owner))

    async def voices(self, owner: str = EVERYBODY) -> list[StoredVoice]:
        """The voices that `owner` may use, the oldest first.

        Raises:
            VoiceStoreFailed: the store does not answer.
        """
        return await self._shared(("list", owner, None), lambda: self._list(owner))

    async def delete(self, voice_id: str, owner: str = EVERYBODY) -> bool:
        """Delete a voice; gives whether there was one of that id that `owner` may use.

        Raises:
            VoiceStoreFailed: the store does not answer, or refuses to delete.
        """

        def delete() -> bool:
            voice = self._by_id(voice_id, owner)
            if voice is None:
                return False
            try:
                self._folder.delete(_file_of(voice))
            except FileNotFoundError:  # somebody was faster
                return False
            return True

        deleted = await self._run(delete)
        self._known.clear()
        return deleted

    async def read(self, voice: StoredVoice) -> bytes:
        """The recording of a voice.

        Raises:
            UnknownVoice: it was deleted.
            VoiceStoreFailed: the store does not answer, or its file is damaged.
        """

        def read() -> bytes:
            try:
                data = self._folder.read(_file_of(voice))
            except FileNotFoundError:
                raise UnknownVoice(voice.name) from None
            if voice_in(data) != voice:  # another one has its name now
                raise UnknownVoice(voice.name)
            recording = recording_in(data, voice)
            if recording is None:
                raise VoiceStoreFailed(f"the file {_file_of(voice)} is damaged")
            return recording

        return await self._run(read)

    def _look_up(self, name: str, owner: str) -> StoredVoice | None:
        if is_id(name):
            return self._by_id(name, owner)
        for whose in dict.fromkeys((owner, EVERYBODY)):
            voice = self._at(key_of_name(name, whose))
            if voice is not None and (voice.name, voice.owner) == (name, whose):
                return voice
        return None

    def _by_id(self, voice_id: str, owner: str) -> StoredVoice | None:
        key = key_of_id(voice_id)
        voice = self._at(key) if key else None
        return voice if voice and voice.id == voice_id and _may_use(owner, voice) else None

    def _at(self, key: str) -> StoredVoice | None:
        try:
            return voice_in(self._folder.head(f"{key}{SUFFIX}", HEAD_BYTES))
        except FileNotFoundError:
            return None

    def _list(self, owner: str) -> list[StoredVoice]:
        heads = self._folder.heads(self._folder.names(SUFFIX), HEAD_BYTES)
        voices = [voice for head in heads if (voice := voice_in(head)) and _may_use(owner, voice)]
        return sorted(voices, key=lambda voice: (voice.created_at, voice.name))

    async def _shared(self, key: Hashable, call: Callable[[], T]) -> T:
        """The result of `call`, for all who ask the same within MAX_AGE_S; no voice is no result.

        Its age counts from when the call began: the store may have changed since.
        """
        now_s = self._now_s()
        began_s, task = self._known.get(key, (float("-inf"), None))
        if task is None or now_s - began_s >= MAX_AGE_S:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            task = asyncio.create_task(self._run(call))
            self._known[key] = now_s, task
        try:
            result: T = await asyncio.shield(task)  # others may wait for the same
        except Exception:
            self._known.pop(key, None)
            raise
        if result is None:
            self._known.pop(key, None)
        return result

    async def _run(self, call: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(loop.run_in_executor(self._threads, call), TIMEOUT_S)
        except StepAudioError:
            raise
        except TimeoutError:
            raise VoiceStoreFailed(f"no answer within {TIMEOUT_S:g} s") from None
        except Exception as error:  # a filesystem's own exceptions have no common base
            raise VoiceStoreFailed(f"{type(error).__name__}: {error}") from error


def _file_of(voice: StoredVoice) -> str:
    return f"{key_of_id(voice.id)}{SUFFIX}"


def _may_use(owner: str, voice: StoredVoice) -> bool:
    return voice.owner in (owner, EVERYBODY)
