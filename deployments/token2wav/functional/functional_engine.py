"""Token2Wav without a server: voices, streams as values, and one step for many streams.

    voice = place_whole(engine.place_voice(engine.encode_voice(recording)))
    state = engine.open(voice)
    output = engine.step([StepInput(state, tokens, last=False)])[0]    # output.pcm, output.state

An engine holds weights and constants, never a stream.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deployments.audio_decoding import to_pcm16
from deployments.errors import VoiceUnusable
from deployments.token2wav.contract import EngineOptions, StepInput, StepOutput
from deployments.token2wav.functional.flow import FlowInput, FlowState, FlowSynthesizer, check_chunk
from deployments.token2wav.functional.hift_stream import HiftInput, HiftState, Vocoder
from deployments.token2wav.functional.published_weights import load_flow, load_hift
from deployments.token2wav.voice import VoiceEncoder, VoicePrompt

USUAL_STREAMS = 64  # what two CPU cores could not serve in real time anyway


@dataclass(frozen=True, slots=True, eq=False)
class PreparedVoice:
    """A prepared voice. All streams in it share it, and none writes to it."""

    prompt: VoicePrompt
    flow: Any  # the flow's state after the prompt, in the form of the engine that made it


@dataclass(frozen=True, slots=True, eq=False)
class StreamState:
    """One stream between two chunks. Stepping makes a new one and leaves this one valid."""

    voice: PreparedVoice
    flow: Any
    vocoder: Any


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FunctionalOutput(StepOutput):
    """A step's output, and the samples that its PCM is made of."""

    samples: Tensor  # [n] float32 on the CPU, 24 kHz

    @classmethod
    def of(cls, samples: Tensor, state: StreamState) -> "FunctionalOutput":
        finite = bool(samples.isfinite().all())
        pcm = to_pcm16(samples.numpy()) if finite else b""
        return cls(pcm=pcm, state=state, finite=finite, samples=samples)


class FunctionalEngine:
    """Our own implementation, batched over streams."""

    def __init__(
        self,
        flow: FlowSynthesizer,
        vocoder: Vocoder,
        voices: VoiceEncoder,
        *,
        rows_per_call: int | None = None,
        max_streams: int = USUAL_STREAMS,
    ) -> None:
        """`rows_per_call` splits a step: 1 makes each row bit for bit what it is alone."""
        self.max_streams = max_streams
        self.rows_share_a_step = rows_per_call != 1
        self._rows_per_call = rows_per_call
        self._flow = flow
        self._vocoder = vocoder
        self._voices = voices
        self.codebook_size = flow.flow.config.vocab_size
        self.lookahead = flow.flow.lookahead

    @classmethod
    def load(cls, options: EngineOptions) -> "FunctionalEngine":
        """Load a published `token2wav/` folder.

        Raises:
            ConfigError: a file is missing, damaged, or does not fit the others.
        """
        if options.num_threads is not None:
            torch.set_num_threads(options.num_threads)
        flow = load_flow(options.token2wav_dir)
        flow = flow.to(device=options.device, dtype=getattr(torch, options.dtype))
        hift = load_hift(options.token2wav_dir).to(options.device)
        voices = VoiceEncoder.load(options, codebook_size=flow.config.vocab_size)
        # A core has nothing to gain from wider matrices (8 tiny streams: 193 ms together, 233 ms
        # one by one), and rows computed alone are exact.
        rows_per_call = 1 if options.device == "cpu" else None
        synthesizer = FlowSynthesizer(flow, seed=options.seed)
        vocoder = Vocoder(hift, seed=options.seed)
        return cls(
            synthesizer,
            vocoder,
            voices,
            rows_per_call=rows_per_call,
            max_streams=options.max_streams or USUAL_STREAMS,
        )

    def encode_voice(self, data: bytes) -> PreparedVoice:
        """Encode a recording and run the flow over it, once for all streams in this voice.

        Raises:
            AudioUnreadable: the recording cannot be decoded.
            ReferenceAudioUnfit: it is too short or too long.
            VoiceUnusable: the models make no numbers of it.
        """
        return self.prepare_prompt(self._voices.encode(data))

    def place_voice(self, encoded: PreparedVoice) -> Generator[None, None, PreparedVoice]:
        """The same, in one piece: nothing of a voice lies anywhere else."""
        yield from ()
        return encoded

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

    def step(self, rows: Sequence[StepInput]) -> list[FunctionalOutput]:
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
        outputs: list[FunctionalOutput] = []
        for begin in range(0, len(rows), max(1, width)):
            group = slice(begin, begin + width)
            outputs += self._step_together(rows[group], chunks[group])
        return outputs

    def _step_together(
        self, rows: Sequence[StepInput], chunks: Sequence[FlowInput]
    ) -> list[FunctionalOutput]:
        mels, flow_states = self._flow.step(chunks)
        vocoder_rows = [
            HiftInput(mel.float(), row.last, row.state.vocoder)
            for mel, row in zip(mels, rows, strict=True)
        ]
        samples, vocoder_states = self._vocoder.step(vocoder_rows)
        parts = zip(rows, samples, flow_states, vocoder_states, strict=True)
        return [
            FunctionalOutput.of(sound.cpu(), StreamState(row.state.voice, flow, vocoder))
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


def _flow_input(row: StepInput) -> FlowInput:
    state: FlowState = row.state.flow
    return FlowInput(torch.tensor(row.tokens, dtype=torch.int64), row.last, state)
