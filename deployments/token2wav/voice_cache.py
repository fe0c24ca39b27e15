"""Prepared voices: the configured ones, uploaded ones and recordings that came with requests."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from deployments.errors import ConfigError, RequestError, UnknownVoice
from deployments.messages import ReferenceAudio, StoredVoice, Voice
from deployments.token2wav.configured_voices import VoiceRecording
from deployments.token2wav.contract import StepEngine
from deployments.token2wav.engine_threads import Runner
from deployments.token2wav.observer import SynthesisObserver
from deployments.token2wav.voice_preparation import place_between_steps

DEFAULT_VOICE = "default"
ReadStored = Callable[[StoredVoice], Awaitable[bytes]]
"""Gives the recording of an uploaded voice; raises UnknownVoice, VoiceStoreFailed."""


async def nothing_stored(voice: StoredVoice) -> bytes:
    """The `ReadStored` of a server that has no voice store."""
    raise UnknownVoice(voice.name)


class VoiceCache:
    """Prepares each voice once, also where several requests bring it at the same time."""

    def __init__(
        self,
        engine: StepEngine,
        *,
        beside_steps: Runner,
        between_steps: Runner,
        recordings: int,
        observer: SynthesisObserver,
        now_s: Callable[[], float],
        read_stored: ReadStored = nothing_stored,
    ) -> None:
        """`recordings`: how many, uploaded or of requests, stay prepared, the last used ones.

        `beside_steps` encodes recordings while the engine steps; `between_steps` is the thread
        that steps, and takes only what needs it, in pieces.
        """
        self._engine = engine
        self._beside_steps = beside_steps
        self._between_steps = between_steps
        self._kept_recordings = recordings
        self._observer = observer
        self._now_s = now_s
        self._read_stored = read_stored
        self._configured: dict[str, Any] = {}
        # by the SHA-256 of the recording, so that an upload is prepared before it has an id
        self._recorded: OrderedDict[bytes, asyncio.Task[Any]] = OrderedDict()
        # one voice at a time: a step waits for one piece, and the GPU has room to place one
        self._placing = asyncio.Lock()

    async def prepare_configured(self, recordings: Mapping[str, VoiceRecording]) -> None:
        """Prepare the voice of each recording under its name.

        Raises:
            ConfigError: a voice cannot be used; it is named.
        """
        for name, recording in recordings.items():
            try:
                self._configured[name] = await self._prepare(recording.data)
            except RequestError as error:
                raise ConfigError(f"the voice {name!r} ({recording.path}): {error}") from error
            self._report_kept()

    async def prepared(self, voice: Voice) -> Any:
        """What the engine opens a stream in.

        Raises:
            UnknownVoice: no voice is configured under that name, or it was deleted.
            VoiceStoreFailed: an uploaded voice cannot be read.
            AudioUnreadable, ReferenceAudioUnfit, VoiceUnusable: the recording is not fit.
        """
        if isinstance(voice, ReferenceAudio):
            data, key = voice.data, hashlib.sha256(voice.data).digest()
            return await self._of_recording(key, lambda: self._prepare(data))
        if isinstance(voice, StoredVoice):
            key, stored = bytes.fromhex(voice.sha256), voice
            return await self._of_recording(key, lambda: self._prepare_stored(stored))
        name = voice or DEFAULT_VOICE
        if name not in self._configured:
            raise UnknownVoice(name, known=tuple(self._configured))
        return self._configured[name]

    async def _of_recording(
        self, key: bytes, prepare: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        task = self._recorded.get(key)
        if task is None:
            task = self._recorded[key] = asyncio.create_task(prepare())
            if len(self._recorded) > self._kept_recordings:
                self._recorded.popitem(last=False)
            self._report_kept()
        self._recorded.move_to_end(key)
        try:
            return await asyncio.shield(task)  # others may wait for the same voice
        except Exception:
            self._recorded.pop(key, None)
            self._report_kept()
            raise

    async def _prepare_stored(self, voice: StoredVoice) -> Any:
        return await self._prepare(await self._read_stored(voice))

    async def _prepare(self, data: bytes) -> Any:
        began_s = self._now_s()
        encoded = await self._beside_steps.run(lambda: self._engine.encode_voice(data))
        async with self._placing:
            pieces = self._engine.place_voice(encoded)
            voice = await place_between_steps(pieces, self._between_steps)
        self._observer.voice_prepared(self._now_s() - began_s)
        return voice

    def _report_kept(self) -> None:
        self._observer.voices_kept(len(self._configured) + len(self._recorded))
