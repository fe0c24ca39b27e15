"""Token2Wav on a GPU, with the methods of `deployments.token2wav.engine.Token2WavEngine`.

    voice = engine.prepare_voice(recording)
    stream = engine.open(voice)
    output = engine.step([StepInput(stream, tokens, last=False)])[0]    # output.pcm, output.state
    engine.close(stream)

A stream's past lies in resident blocks, which a step writes in place: the state that comes out
is the one that went in, moved on, and must be closed. One thread may call `prepare_voice` and
`step`; `open` and `close` are safe from any.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deployments.errors import VoiceUnusable
from deployments.token2wav.model.flow import EULER_STEPS, Flow
from deployments.token2wav.model.hift import SAMPLES_PER_FRAME, Hift
from deployments.token2wav.model.vocoder import OVERLAP_FRAMES
from deployments.token2wav.resident.memory import Needs
from deployments.token2wav.resident.model import ResidentModel
from deployments.token2wav.resident.places import Place, Places
from deployments.token2wav.resident.settings import ResidentSettings
from deployments.token2wav.resident.shapes import Shapes
from deployments.token2wav.resident.streams import (
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

    pcm: bytes  # nothing where a sample is not finite
    state: ResidentStream
    finite: bool  # if not, the stream has come to its end


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
        self._places = Places(
            solver_blocks=model.plan.solver_blocks,
            encoder_blocks=model.plan.encoder_blocks,
            slots=model.plan.slots,
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
        voices = VoiceEncoder(
            token2wav_dir,
            num_threads=num_threads,
            limits_s=reference_audio_s,
            codebook_size=flow.config.vocab_size,
        )
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
            AudioUnreadable, ReferenceAudioUnfit, VoiceUnusable: as
                `Token2WavEngine.prepare_voice`.
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
        self._prepare(voice, self._places.settle(voice, self._voice_needs(voice)))
        return voice

    def open(self, voice: ResidentVoice) -> ResidentStream:
        """Take a place for a stream. Raises ServerFull if there is none.

        A voice that had to give way gets its place back here, and is prepared again by the
        stream's first step.
        """
        needs = stream_needs(
            len(voice.codes), self._model.frames_per_token, self.settings.history_tokens
        )
        place = self._places.begin(voice, self._voice_needs(voice), needs)
        stream = ResidentStream.begin(voice, place)
        stream.watch = self._places.watch(stream, voice, place)
        return stream

    def close(self, stream: ResidentStream) -> None:
        """Give a stream's place back. May be called twice, and while a step has the stream.

        Whoever gets the place next writes to it in a later step.
        """
        stream.open = False
        if stream.watch is not None:
            self._places.end(stream.watch)

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
        for voice in {id(row.state.voice): row.state.voice for row in rows}.values():
            if not voice.prepared and (place := voice.place) is not None:
                with suppress(VoiceUnusable):  # its rows alone fail
                    self._prepare(voice, place)
        outputs: list[ResidentOutput] = []
        for begin in range(0, len(rows), self.settings.max_batch):
            outputs += self._together(rows[begin : begin + self.settings.max_batch])
        return outputs

    def _together(self, rows: Sequence[Row]) -> list[ResidentOutput]:
        counts = [len(row.tokens) - (0 if row.last else self.lookahead) for row in rows]
        shape = self._shapes.fit(len(rows), max(counts) * self._model.frames_per_token)
        shape.rows.clear()
        entered, ends = [], []
        with self._places.locked():  # whoever closes a stream now waits for its row to be written
            for at, (row, count) in enumerate(zip(rows, counts, strict=True)):
                stream = row.state
                total = stream.held_frames + count * self._model.frames_per_token
                ends.append(total if row.last else total - min(OVERLAP_FRAMES, total))
                entered.append(stream.open and stream.voice.prepared)
                if entered[at]:
                    stream.enter(shape.rows.host, at, row.tokens, count)
        pcm, finite = self._shapes.run(shape)
        return [
            # a row that was left unused is closed, or its voice could not be prepared again
            self._output(pcm[at, : end * SAMPLES_PER_FRAME], row.state, bool(finite[at]))
            if entered[at]
            else ResidentOutput(b"", row.state, finite=not row.state.open)
            for at, (row, end) in enumerate(zip(rows, ends, strict=True))
        ]

    @staticmethod
    def _output(pcm: NDArray[np.int16], stream: ResidentStream, finite: bool) -> ResidentOutput:
        return ResidentOutput(pcm.tobytes() if finite else b"", stream, finite)

    def _check(self, row: Row) -> None:
        seen_only = 0 if row.last else self.lookahead
        if len(row.tokens) <= seen_only:
            raise ValueError(f"{len(row.tokens)} tokens, of which {seen_only} are lookahead")
        if not 0 <= min(row.tokens) <= max(row.tokens) < self.codebook_size:
            raise ValueError(f"an audio token outside the codebook of {self.codebook_size}")
        if len(row.tokens) > self.settings.history_tokens:
            raise ValueError(f"{len(row.tokens)} tokens in one chunk")

    def _prepare(self, voice: ResidentVoice, place: Place) -> None:
        try:
            self._shapes.prepare(voice, place)
        except FloatingPointError as error:
            raise VoiceUnusable("tokens make the flow overflow") from error
        with self._places.locked():  # it may have had to give way meanwhile
            voice.prepared = voice.place is place

    @staticmethod
    def _voice_needs(voice: ResidentVoice) -> Needs:
        return voice_needs(len(voice.codes), voice.frames_per_token)

    @property
    def free(self) -> tuple[int, int, int]:
        """Solver blocks, encoder blocks and slots that nobody has."""
        return self._places.free
