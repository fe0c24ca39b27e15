"""Token2Wav on a GPU, with the methods of `deployments.token2wav.engine.Token2WavEngine`.

    voice = engine.prepare_voice(recording)
    stream = engine.open(voice)
    output = engine.step([StepInput(stream, tokens, last=False)])[0]    # output.pcm, output.state
    engine.close(stream)

A stream's past lies in resident blocks, which a step writes in place: the state that comes out
is the one that went in, moved on, and must be closed. One thread may call `prepare_voice` and
`step`; `open` and `close` are safe from any.
"""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from deployments.errors import ServerFull
from deployments.token2wav.model.flow import EULER_STEPS, Flow
from deployments.token2wav.model.hift import SAMPLES_PER_FRAME, Hift
from deployments.token2wav.model.vocoder import OVERLAP_FRAMES
from deployments.token2wav.resident.memory import IdPool
from deployments.token2wav.resident.model import ResidentModel
from deployments.token2wav.resident.settings import ResidentSettings
from deployments.token2wav.resident.shapes import Shapes
from deployments.token2wav.resident.streams import (
    Place,
    ResidentStream,
    ResidentVoice,
    stream_needs,
    voice_needs,
)

Progress = Callable[[int, int], None]


class Prompt(Protocol):
    """What `deployments.token2wav.voice.VoicePrompt` holds."""

    codes: Tensor
    embedding: Tensor
    mel: Tensor


class Row(Protocol):
    """What `deployments.token2wav.engine.StepInput` holds."""

    @property
    def state(self) -> ResidentStream: ...
    @property
    def tokens(self) -> Sequence[int]: ...
    @property
    def last(self) -> bool: ...


@dataclass(frozen=True, slots=True, eq=False)
class ResidentOutput:
    """What one step made of a chunk: s16le at 24 kHz, and the stream, moved on."""

    pcm: bytes
    state: ResidentStream


class ResidentEngine:
    """Batched over streams, each step one replayed CUDA graph."""

    def __init__(
        self,
        flow: Flow,
        hift: Hift,
        voices: Any,
        *,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
        settings: ResidentSettings,
        steps: int = EULER_STEPS,
        progress: Progress | None = None,
    ) -> None:
        """Move the weights to the GPU, take the memory, and capture every shape.

        Args:
            flow, hift: float32, weight norm folded; not kept.
            voices: encodes recordings, a `VoiceEncoder`.
            progress: told how many shapes are captured, of how many.

        Raises:
            ConfigError: the budget holds no stream.
        """
        self.codebook_size = flow.config.vocab_size
        self.lookahead = flow.lookahead
        self.settings = settings
        self._voices = voices
        self._model = model = ResidentModel(
            flow, hift, seed=seed, device=device, dtype=dtype, settings=settings, steps=steps
        )
        self.max_streams = model.plan.max_streams
        self._solver_blocks = IdPool(model.plan.solver_blocks)
        self._encoder_blocks = IdPool(model.plan.encoder_blocks)
        self._slots = IdPool(model.plan.slots)
        self._lock = threading.RLock()
        # voices that have a place, the longest unused first; the engine keeps none alive
        self._resident: OrderedDict[int, tuple[weakref.ref[ResidentVoice], Place]] = OrderedDict()
        self._closers: weakref.WeakKeyDictionary[ResidentStream, weakref.finalize] = (
            weakref.WeakKeyDictionary()
        )
        self._shapes = Shapes(model, settings)
        self._shapes.capture(progress)

    @classmethod
    def load(
        cls,
        token2wav_dir: Path,
        *,
        device: str = "cuda",
        dtype: torch.dtype = torch.float16,
        seed: int = 0,
        num_threads: int | None = None,
        lookahead: int = 3,
        reference_audio_s: tuple[float, float] = (1.0, 30.0),
        settings: ResidentSettings | None = None,
        progress: Progress | None = None,
    ) -> "ResidentEngine":
        """As `Token2WavEngine.load`, on a GPU.

        Raises:
            ConfigError: as there, or the settings do not fit.
        """
        from deployments.token2wav.engine import require_lookahead
        from deployments.token2wav.model import load_flow, load_hift
        from deployments.token2wav.voice import VoiceEncoder

        flow, hift = load_flow(token2wav_dir), load_hift(token2wav_dir)
        require_lookahead(lookahead, flow.config)
        voices = VoiceEncoder(token2wav_dir, num_threads=num_threads, limits_s=reference_audio_s)
        engine = cls(
            flow.to(device),
            hift.to(device),
            voices,
            seed=seed,
            device=torch.device(device),
            dtype=dtype,
            settings=settings or ResidentSettings(),
            progress=progress,
        )
        del flow, hift
        torch.cuda.empty_cache()  # their float32 weights are no longer needed
        return engine

    def prepare_voice(self, data: bytes) -> ResidentVoice:
        """Encode a recording and run the flow over it, once for all streams in this voice.

        Raises:
            AudioUnreadable, ReferenceAudioUnfit: as `Token2WavEngine.prepare_voice`.
            ServerFull: the memory is taken by streams.
        """
        return self.prepare_prompt(self._voices.encode(data))

    def prepare_prompt(self, prompt: Prompt) -> ResidentVoice:
        """Run the flow over a voice that is already encoded."""
        if len(prompt.codes) > self.settings.longest_voice_tokens:
            limit = self.settings.longest_voice_tokens
            raise ValueError(f"a voice of {len(prompt.codes)} codes, the limit is {limit}")
        voice = ResidentVoice(
            prompt.codes.cpu(), prompt.embedding, prompt.mel, self._model.frames_per_token
        )
        with self._lock:
            place = self._settle(voice)
        self._prepare(voice, place)
        return voice

    def open(self, voice: ResidentVoice) -> ResidentStream:
        """Take a place for a stream. Raises ServerFull if there is none.

        A voice that had to give way gets its place back here, and is prepared again by the
        stream's first step.
        """
        needs = stream_needs(
            len(voice.codes), self._model.frames_per_token, self.settings.history_tokens
        )
        with self._lock:
            voice.streams += 1  # from here on it gives way to nobody
            try:
                self._settle(voice)
                place = self._take(needs.solver_blocks, needs.encoder_blocks, needs.slots)
            except BaseException:
                voice.streams -= 1
                raise
            stream = ResidentStream.begin(voice, place)
            # a stream that is forgotten instead of closed must not keep its memory
            closer = self._closers[stream] = weakref.finalize(stream, self._end, voice, place)
            closer.atexit = False
            return stream

    def close(self, stream: ResidentStream) -> None:
        """Give a stream's place back. May be called twice, and while a step has the stream.

        Whoever gets the place next writes to it in a later step.
        """
        stream.open = False
        self._closers[stream]()

    def step(self, rows: Sequence[Row]) -> list[ResidentOutput]:
        """Synthesise one chunk of each of several streams.

        Raises:
            ValueError: a chunk that consumes no token or names one outside the codebook, a
                stream that comes twice; then nothing has happened to any stream.
        """
        if len({id(row.state) for row in rows}) < len(rows):
            raise ValueError("a stream has two chunks in one step")
        for row in rows:
            self._check(row)
        for row in rows:
            voice = row.state.voice
            if not voice.prepared and (place := voice.place) is not None:
                self._prepare(voice, place)
        outputs: list[ResidentOutput] = []
        for begin in range(0, len(rows), self.settings.max_batch):
            outputs += self._together(rows[begin : begin + self.settings.max_batch])
        return outputs

    def _together(self, rows: Sequence[Row]) -> list[ResidentOutput]:
        counts = [len(row.tokens) - (0 if row.last else self.lookahead) for row in rows]
        shape = self._shapes.fit(len(rows), max(counts) * self._model.frames_per_token)
        shape.rows.clear()
        ends = []
        with self._lock:  # whoever closes a stream now waits for its row to be written
            for at, (row, count) in enumerate(zip(rows, counts, strict=True)):
                stream = row.state
                total = stream.held_frames + count * self._model.frames_per_token
                ends.append(total if row.last else total - min(OVERLAP_FRAMES, total))
                if stream.open:
                    stream.enter(shape.rows.host, at, row.tokens, count)
                else:
                    ends[at] = 0  # nobody listens any more: an unused row
        pcm = self._shapes.run(shape)
        return [
            ResidentOutput(pcm[at, : end * SAMPLES_PER_FRAME].tobytes(), row.state)
            for at, (row, end) in enumerate(zip(rows, ends, strict=True))
        ]

    def _check(self, row: Row) -> None:
        seen_only = 0 if row.last else self.lookahead
        if len(row.tokens) <= seen_only:
            raise ValueError(f"{len(row.tokens)} tokens, of which {seen_only} are lookahead")
        if not 0 <= min(row.tokens) <= max(row.tokens) < self.codebook_size:
            raise ValueError(f"an audio token outside the codebook of {self.codebook_size}")
        if len(row.tokens) > self.settings.history_tokens:
            raise ValueError(f"{len(row.tokens)} tokens in one chunk")

    def _prepare(self, voice: ResidentVoice, place: Place) -> None:
        self._shapes.prepare(voice, place)
        with self._lock:  # it may have had to give way meanwhile
            voice.prepared = voice.place is place

    def _settle(self, voice: ResidentVoice) -> Place:
        """Give a voice a place, if it has none, and mark it as used last. Needs the lock."""
        key = id(voice)
        if voice.place is None:
            needs = voice_needs(len(voice.codes), voice.frames_per_token)
            voice.place = self._take(needs.solver_blocks, needs.encoder_blocks, needs.slots)
            self._resident[key] = (weakref.ref(voice), voice.place)
            weakref.finalize(voice, self._forget, key, voice.place).atexit = False
        self._resident.move_to_end(key)
        return voice.place

    def _take(self, solver_blocks: int, encoder_blocks: int, slots: int) -> Place:
        """Memory from the pools; voices without a stream give way, the longest unused first."""
        while True:
            enough = (
                self._solver_blocks.free >= solver_blocks
                and self._encoder_blocks.free >= encoder_blocks
                and self._slots.free >= slots
            )
            if enough:
                return Place(
                    self._solver_blocks.take(solver_blocks),
                    self._encoder_blocks.take(encoder_blocks),
                    self._slots.take(slots),
                )
            voices = (reference() for reference, _ in self._resident.values())
            idle = next((v for v in voices if v is not None and not v.streams), None)
            if idle is None or idle.place is None:
                raise ServerFull()
            self._forget(id(idle), idle.place)
            idle.place, idle.prepared = None, False

    def _end(self, voice: ResidentVoice, place: Place) -> None:
        with self._lock:
            voice.streams -= 1
            self._give(place)

    def _forget(self, key: int, place: Place) -> None:
        with self._lock:
            _, held = self._resident.get(key, (None, None))
            if held is not place:
                return  # it gave way before, and has another place by now or none
            del self._resident[key]
            self._give(place)

    def _give(self, place: Place) -> None:
        self._solver_blocks.give(place.solver_blocks)
        self._encoder_blocks.give(place.encoder_blocks)
        self._slots.give(place.slots)

    @property
    def free(self) -> tuple[int, int, int]:
        """Solver blocks, encoder blocks and slots that nobody has."""
        return self._solver_blocks.free, self._encoder_blocks.free, self._slots.free
