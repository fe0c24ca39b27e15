"""Token2Wav on a GPU, with the methods of `FunctionalEngine`.

    voice = place_whole(engine.place_voice(engine.encode_voice(recording)))
    stream = engine.open(voice)
    output = engine.step([StepInput(stream, tokens, last=False)])[0]    # output.pcm, output.state
    engine.close(stream)

A stream's past lies in resident blocks, which a step writes in place: the state that comes out
is the one that went in, moved on, and must be closed.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deployments.errors import VoiceUnusable
from deployments.token2wav.contract import EngineOptions, StepInput, StepOutput
from deployments.token2wav.functional.flow import EULER_STEPS, Flow
from deployments.token2wav.functional.hift import SAMPLES_PER_FRAME, Hift
from deployments.token2wav.functional.hift_stream import OVERLAP_FRAMES
from deployments.token2wav.resident.memory import Needs
from deployments.token2wav.resident.places import Place, Places
from deployments.token2wav.resident.resident_model import ResidentModel
from deployments.token2wav.resident.resident_sizes import ResidentSizes
from deployments.token2wav.resident.shapes import Shapes
from deployments.token2wav.resident.streams import (
    ResidentStream,
    ResidentVoice,
    stream_needs,
    voice_needs,
)

Progress = Callable[[int, int], None]


class EncodedVoice(Protocol):
    """What a `VoicePrompt` holds."""

    @property
    def codes(self) -> Tensor: ...
    @property
    def embedding(self) -> Tensor: ...
    @property
    def mel(self) -> Tensor: ...


class ResidentEngine:
    """Batched over streams, each step one replayed CUDA graph."""

    rows_share_a_step = True

    def __init__(
        self,
        flow: Flow,
        hift: Hift,
        voices: Any,
        *,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
        sizes: ResidentSizes,
        steps: int = EULER_STEPS,
        progress: Progress | None = None,
    ) -> None:
        """Move the weights to the GPU, take the memory, and capture every shape.

        Args:
            flow, hift: float32, weight norm folded; not kept.
            voices: encodes recordings, a `VoiceEncoder`.
            progress: is called after each capture, with the shapes that are done and all of them.

        Raises:
            ConfigError: the budget holds no stream.
        """
        self.codebook_size = flow.config.vocab_size
        self.lookahead = flow.lookahead
        self.sizes = sizes
        self._voices = voices
        self._model = model = ResidentModel(
            flow, hift, seed=seed, device=device, dtype=dtype, sizes=sizes, steps=steps
        )
        self.max_streams = model.plan.max_streams
        self._places = Places(
            solver_blocks=model.plan.solver_blocks,
            encoder_blocks=model.plan.encoder_blocks,
            slots=model.plan.slots,
        )
        self._shapes = Shapes(model, sizes)
        self._shapes.capture(progress)

    @classmethod
    def load(cls, options: EngineOptions, *, progress: Progress | None = None) -> "ResidentEngine":
        """As `FunctionalEngine.load`, on a GPU.

        Raises:
            ConfigError: as there, or the GPU's budget holds no stream.
        """
        from deployments.token2wav.functional.published_weights import load_flow, load_hift
        from deployments.token2wav.voice import VoiceEncoder

        flow, hift = load_flow(options.token2wav_dir), load_hift(options.token2wav_dir)
        sizes = ResidentSizes.of(options, flow.frames_per_token)
        engine = cls(
            flow.to(options.device),
            hift.to(options.device),
            VoiceEncoder.load(options, codebook_size=flow.config.vocab_size),
            seed=options.seed,
            device=torch.device(options.device),
            dtype=getattr(torch, options.dtype),
            sizes=sizes,
            progress=progress,
        )
        del flow, hift
        torch.cuda.empty_cache()  # their float32 weights are no longer needed
        return engine

    def encode_voice(self, data: bytes) -> EncodedVoice:
        """Describe the voice in a recording.

        Raises:
            AudioUnreadable, ReferenceAudioUnfit, VoiceUnusable: as
                `FunctionalEngine.encode_voice`.
        """
        return self._voices.encode(data)

    def place_voice(self, encoded: EncodedVoice) -> Generator[None, None, ResidentVoice]:
        """Run the flow over a voice, once for all streams in it.

        The pieces are the encoder and each Euler step; the GPU has done a piece when it ends. A
        voice that has to give way between them is returned as it is: its first stream's first step
        prepares it.

        Raises:
            VoiceUnusable: the flow makes no numbers of it.
            ServerFull: the memory is taken by streams.
        """
        if len(encoded.codes) > self.sizes.longest_voice_tokens:
            limit = self.sizes.longest_voice_tokens
            raise ValueError(f"a voice of {len(encoded.codes)} codes, the limit is {limit}")
        voice = ResidentVoice(
            encoded.codes.cpu(), encoded.embedding, encoded.mel, self._model.frames_per_token
        )
        yield from self._prepare(voice, self._places.settle(voice, self._voice_needs(voice)))
        return voice

    def open(self, voice: ResidentVoice) -> ResidentStream:
        """Take a place for a stream. Raises ServerFull if there is none.

        A voice that had to give way gets its place back here, and is prepared again by the
        stream's first step.
        """
        needs = stream_needs(
            len(voice.codes), self._model.frames_per_token, self.sizes.history_tokens
        )
        place = self._places.begin(voice, self._voice_needs(voice), needs)
        stream = ResidentStream.begin(voice, place)
        stream.watch = self._places.watch(stream, voice, place)
        return stream

    def close(self, stream: ResidentStream) -> None:
        """Give a stream's place back. May be called twice, and while a step has the stream.

        The stream that gets the place next writes to it in a later step.
        """
        stream.open = False
        if stream.watch is not None:
            self._places.end(stream.watch)

    def step(self, rows: Sequence[StepInput]) -> list[StepOutput]:
        """Synthesise one chunk of each of several streams.

        A voice that had to give way is prepared again here, in one piece, before its streams'
        chunks: all rows wait for it.

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
                    for _ in self._prepare(voice, place):
                        pass
        outputs: list[StepOutput] = []
        for begin in range(0, len(rows), self.sizes.max_batch):
            outputs += self._together(rows[begin : begin + self.sizes.max_batch])
        return outputs

    def _together(self, rows: Sequence[StepInput]) -> list[StepOutput]:
        counts = [len(row.tokens) - (0 if row.last else self.lookahead) for row in rows]
        shape = self._shapes.fit(len(rows), max(counts) * self._model.frames_per_token)
        shape.rows.clear()
        entered, ends = [], []
        with self._places.locked():  # a stream that is closed now has its row written first
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
            else StepOutput(b"", row.state, finite=not row.state.open)
            for at, (row, end) in enumerate(zip(rows, ends, strict=True))
        ]

    @staticmethod
    def _output(pcm: NDArray[np.int16], stream: ResidentStream, finite: bool) -> StepOutput:
        return StepOutput(pcm.tobytes() if finite else b"", stream, finite)

    def _check(self, row: StepInput) -> None:
        seen_only = 0 if row.last else self.lookahead
        if len(row.tokens) <= seen_only:
            raise ValueError(f"{len(row.tokens)} tokens, of which {seen_only} are lookahead")
        if not 0 <= min(row.tokens) <= max(row.tokens) < self.codebook_size:
            raise ValueError(f"an audio token outside the codebook of {self.codebook_size}")
        if len(row.tokens) > self.sizes.history_tokens:
            raise ValueError(f"{len(row.tokens)} tokens in one chunk")

    def _prepare(self, voice: ResidentVoice, place: Place) -> Iterator[None]:
        try:
            for _ in self._shapes.prepare(voice, place):
                yield
                # A step between two pieces may have written into what was this voice's place. One
                # that opens during a piece steps after it, in the same thread.
                if not self._has(voice, place):
                    return
        except FloatingPointError as error:
            raise VoiceUnusable("tokens make the flow overflow") from error
        with self._places.locked():  # it may have had to give way meanwhile
            voice.prepared = voice.place is place

    def _has(self, voice: ResidentVoice, place: Place) -> bool:
        with self._places.locked():
            return voice.place is place

    @staticmethod
    def _voice_needs(voice: ResidentVoice) -> Needs:
        return voice_needs(len(voice.codes), voice.frames_per_token)

    @property
    def free(self) -> tuple[int, int, int]:
        """Solver blocks, encoder blocks and slots that are free."""
        return self._places.free
