"""Token2Wav without a server: voices, streams as values, and one step for many streams.

    voice = engine.prepare_voice(recording)
    state = engine.open(voice)
    output = engine.step([StepInput(state, tokens, last=False)])[0]    # output.pcm, output.state

An engine holds weights and constants, never a stream. One thread at a time may call it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deployments.audio import to_pcm16
from deployments.errors import ConfigError, VoiceUnusable
from deployments.token2wav.model import (
    FlowConfig,
    FlowInput,
    FlowState,
    FlowSynthesizer,
    HiftInput,
    HiftState,
    Vocoder,
    load_flow,
    load_hift,
)
from deployments.token2wav.model.flow import check_chunk
from deployments.token2wav.voice import VoiceEncoder, VoicePrompt


@dataclass(frozen=True, slots=True, eq=False)
class PreparedVoice:
    """A voice that streams can begin in at once; shared by all of them, written by none."""

    prompt: VoicePrompt
    flow: Any  # the flow's state after the prompt, in the form of the engine that made it


@dataclass(frozen=True, slots=True, eq=False)
class StreamState:
    """One stream between two chunks. Stepping makes a new one and leaves this one valid."""

    voice: PreparedVoice
    flow: Any
    vocoder: Any


@dataclass(frozen=True, slots=True, eq=False)
class StepInput:
    """One stream's next chunk."""

    state: Any  # of the engine that opened the stream: a StreamState, or what stands for one
    tokens: Sequence[int]  # consumed ones and, unless `last`, the lookahead after them
    last: bool


@dataclass(frozen=True, slots=True, eq=False)
class StepOutput:
    """What one step made of a chunk. A stream's samples add up to 960 for each token."""

    samples: Tensor  # [n] float32 on the CPU, 24 kHz
    state: StreamState

    @property
    def finite(self) -> bool:
        """Whether every sample is a number. If not, the stream has come to its end."""
        return bool(self.samples.isfinite().all())

    @property
    def pcm(self) -> bytes:
        """The samples as s16le; nothing where they are not finite."""
        return to_pcm16(self.samples.numpy()) if self.finite else b""


class Token2WavEngine:
    """Our own implementation, batched over streams."""

    max_streams = 64  # what two CPU cores could not serve in real time anyway

    def __init__(
        self,
        flow: FlowSynthesizer,
        vocoder: Vocoder,
        voices: VoiceEncoder,
        *,
        rows_per_call: int | None = None,
    ) -> None:
        """`rows_per_call` splits a step: 1 makes each row bit for bit what it is alone."""
        self._rows_per_call = rows_per_call
        self._flow = flow
        self._vocoder = vocoder
        self._voices = voices
        self.codebook_size = flow.flow.config.vocab_size
        self.lookahead = flow.flow.lookahead

    @classmethod
    def load(
        cls,
        token2wav_dir: Path,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
        num_threads: int | None = None,
        lookahead: int = 3,
        reference_audio_s: tuple[float, float] = (1.0, 30.0),
    ) -> "Token2WavEngine":
        """Load a published `token2wav/` folder.

        Args:
            token2wav_dir: holds flow.yaml, flow.pt, hift.pt and the two ONNX models.
            device: of the flow and the vocoder; voices are always encoded on the CPU.
            dtype: of the flow. The vocoder stays in float32: its phases need it.
            seed: of all noise. The same seed, voice and tokens give the same sound.
            num_threads: of PyTorch (for the whole process) and of onnxruntime; None leaves both.
            lookahead: how many tokens the caller's chunks will see beyond those they consume.
            reference_audio_s: the shortest and the longest voice recording.

        Raises:
            ConfigError: a file is missing, damaged, or does not fit the others, or the model
                looks ahead otherwise.
        """
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        flow = load_flow(token2wav_dir).to(device=device, dtype=dtype)
        require_lookahead(lookahead, flow.config)
        hift = load_hift(token2wav_dir).to(device)
        voices = VoiceEncoder(
            token2wav_dir,
            num_threads=num_threads,
            limits_s=reference_audio_s,
            codebook_size=flow.config.vocab_size,
        )
        # A core has nothing to gain from wider matrices (8 tiny streams: 193 ms together, 233 ms
        # one by one), and rows computed alone are exact.
        rows_per_call = 1 if torch.device(device).type == "cpu" else None
        synthesizer, vocoder = FlowSynthesizer(flow, seed=seed), Vocoder(hift, seed=seed)
        return cls(synthesizer, vocoder, voices, rows_per_call=rows_per_call)

    def prepare_voice(self, data: bytes) -> PreparedVoice:
        """Encode a recording and run the flow over it, once for all streams in this voice.

        Raises:
            AudioUnreadable: the recording cannot be decoded.
            ReferenceAudioUnfit: it is too short or too long.
            VoiceUnusable: the models make no numbers of it.
        """
        return self.prepare_prompt(self._voices.encode(data))

    def prepare_prompt(self, prompt: VoicePrompt) -> PreparedVoice:
        """Run the flow over a voice that is already encoded.

        Raises:
            VoiceUnusable: the flow makes no numbers of it.
        """
        try:
            state = self._flow.prepare(prompt.codes, prompt.embedding, prompt.mel)
        except FloatingPointError as error:
            raise VoiceUnusable("tokens make the flow overflow") from error
        return PreparedVoice(prompt, state)

    def open(self, voice: PreparedVoice) -> StreamState:
        """Begin a stream. It costs nothing: nothing is copied before the first step."""
        return StreamState(voice, voice.flow, HiftState.empty(self._vocoder.hift))

    def close(self, state: StreamState) -> None:
        """Nothing is held: a state is a value."""

    def step(self, rows: Sequence[StepInput]) -> list[StepOutput]:
        """Synthesise one chunk of each of several streams.

        Rows do not touch each other. Computed in one call they still round differently than
        alone: the mels agree to 1e-5, the samples to about 1e-4, because the vocoder's phase
        grows to 10 000 rad, where float32 is that coarse. On a CPU they agree bit for bit. A row
        that turns non-finite says so in its output, and harms no other.

        Raises:
            ValueError: a chunk that consumes no token or names one outside the codebook; then
                nothing has happened to any stream.
        """
        chunks = [_flow_input(row) for row in rows]
        for chunk in chunks:
            check_chunk(chunk.tokens, last=chunk.last, config=self._flow.flow.config)
        width = self._rows_per_call or len(rows)
        outputs: list[StepOutput] = []
        for begin in range(0, len(rows), max(1, width)):
            group = slice(begin, begin + width)
            outputs += self._step_together(rows[group], chunks[group])
        return outputs

    def _step_together(
        self, rows: Sequence[StepInput], chunks: Sequence[FlowInput]
    ) -> list[StepOutput]:
        mels, flow_states = self._flow.step(chunks)
        vocoder_rows = [
            HiftInput(mel.float(), row.last, row.state.vocoder)
            for mel, row in zip(mels, rows, strict=True)
        ]
        samples, vocoder_states = self._vocoder.step(vocoder_rows)
        parts = zip(rows, samples, flow_states, vocoder_states, strict=True)
        return [
            StepOutput(sound.cpu(), StreamState(row.state.voice, flow, vocoder))
            for row, sound, flow, vocoder in parts
        ]

    def synthesize(self, tokens: Sequence[int], voice: PreparedVoice) -> Tensor:
        """Synthesise all tokens at once: [960 * n] float32 on the CPU.

        Attention sees the prompt and every token, so this is not the sound of a stream, which
        sees a limited past and 3 tokens ahead.

        Raises:
            ValueError: no token, or one outside the codebook.
        """
        prompt = voice.prompt
        chosen = torch.tensor(tokens, dtype=torch.int64)
        mel = self._flow.whole(chosen, prompt.codes, prompt.embedding, prompt.mel)
        return self._vocoder.whole(mel.float()).cpu()


def require_lookahead(lookahead: int, config: FlowConfig) -> None:
    """Raise ConfigError unless chunks cut with `lookahead` are what the model was trained for."""
    needed = config.encoder.pre_lookahead_len
    if lookahead != needed:
        raise ConfigError(f"the model looks {needed} tokens ahead, chunks.lookahead is {lookahead}")


def _flow_input(row: StepInput) -> FlowInput:
    state: FlowState = row.state.flow
    return FlowInput(torch.tensor(row.tokens, dtype=torch.int64), row.last, state)
