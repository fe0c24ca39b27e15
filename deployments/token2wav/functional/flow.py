"""The flow model: audio tokens in, mel frames out, chunk by chunk or whole.

`Flow` holds weights under their published names. `FlowSynthesizer` adds the constants of one way
of running it (noise, timesteps); a stream's past is a `FlowState`, which nothing writes to.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployments.messages import AUDIO_TOKENS_PER_SECOND
from deployments.token2wav.functional.cfm import (
    ConditionalFlow,
    FoldedSchedule,
    SolverInput,
    SolverState,
    seeded_noise,
    trim,
)
from deployments.token2wav.functional.conformer import EncoderState, UpsampleConformerEncoder
from deployments.token2wav.functional.flow_config import FlowConfig

EULER_STEPS = 10
# What the encoder sees of a stream beside its prompt. The official one forgets nothing, so a long
# text would take ever more memory and time; the resident engine's `gpu.history_s` is as long.
ENCODER_TAIL_TOKENS = 40 * AUDIO_TOKENS_PER_SECOND


@dataclass(frozen=True, slots=True, eq=False)
class FlowState:
    """One stream between two chunks, or a voice before its first."""

    speaker: Tensor  # [mels] projected speaker embedding
    prompt_frames: int
    encoder: EncoderState
    solver: SolverState


@dataclass(frozen=True, slots=True, eq=False)
class FlowInput:
    """One stream's next chunk."""

    tokens: Tensor  # [n] int64; the last `lookahead` of them are only seen, unless `last`
    last: bool
    state: FlowState


class Flow(nn.Module):
    """Token embedding, speaker projection, encoder and flow-matching decoder."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.input_embedding = nn.Embedding(config.vocab_size, config.input_size)
        self.spk_embed_affine_layer = nn.Linear(config.spk_embed_dim, config.output_size)
        self.encoder = UpsampleConformerEncoder(config.encoder)
        self.encoder_proj = nn.Linear(config.encoder.output_size, config.output_size)
        self.decoder = ConditionalFlow(config.dit, config.inference_cfg_rate)

    @property
    def lookahead(self) -> int:
        """Tokens that a chunk sees beyond those that it consumes."""
        return self.config.encoder.pre_lookahead_len

    @property
    def frames_per_token(self) -> int:
        return self.config.encoder.up_stride

    def project_speaker(self, embedding: Tensor) -> Tensor:
        """[spk_embed_dim] -> [mels], from the direction of the embedding alone."""
        return self.spk_embed_affine_layer(F.normalize(embedding, dim=0))

    def encode(
        self, rows: list[Tensor], last: list[bool], states: list[EncoderState]
    ) -> tuple[list[Tensor], list[EncoderState]]:
        """Tokens [n] of each row -> encoder output [t, mels] of each row, next states."""
        embedded = [self.input_embedding(row) for row in rows]
        hidden, frames, states = self.encoder(embedded, last, states)
        projected = self.encoder_proj(hidden)
        return [row[:n] for row, n in zip(projected, frames, strict=True)], states


class FlowSynthesizer:
    """Runs a `Flow` with fixed weights. Threads may share it: it holds no stream."""

    def __init__(self, flow: Flow, *, seed: int, steps: int = EULER_STEPS) -> None:
        self.flow = flow
        self.steps = steps
        weight = flow.encoder_proj.weight
        self.noise = seeded_noise(flow.config.output_size, seed).to(weight)
        with torch.inference_mode():
            self._schedule = FoldedSchedule.fold(flow.decoder, steps)

    @torch.inference_mode()
    def prepare(self, codes: Tensor, embedding: Tensor, mel: Tensor) -> FlowState:
        """Run the prompt, so that streams in its voice can begin.

        Args:
            codes: [P] int64 audio tokens of the reference audio.
            embedding: [spk_embed_dim] its speaker embedding.
            mel: [2P, mels] its mel spectrogram.

        Raises:
            ValueError: fewer codes than the lookahead, or a mel of another length.
            FloatingPointError: what the flow makes of it is not finite.
        """
        ahead = self.flow.lookahead
        if len(codes) < ahead or len(mel) != len(codes) * self.flow.frames_per_token:
            raise ValueError(f"{len(codes)} codes and {len(mel)} mel frames make no prompt")
        state = self._empty_state(embedding, prompt_frames=len(mel))
        # The prompt's end has no lookahead of its own: its first codes stand in, as officially.
        chunk = FlowInput(torch.cat((codes, codes[:ahead])), last=False, state=state)
        mels, states = self._run([chunk], [mel])
        # every key and value of the prompt went into every frame of its mel
        if not mels[0].isfinite().all():
            raise FloatingPointError("the prompt makes the flow overflow")
        return states[0]

    @torch.inference_mode()
    def step(self, rows: Sequence[FlowInput]) -> tuple[list[Tensor], list[FlowState]]:
        """Synthesise one chunk of every stream.

        Returns:
            Mels [t, mels] of each row, and the next states, their histories trimmed.

        Raises:
            ValueError: a chunk that consumes no token, a token outside the codebook, or more
                frames than there is noise for (600 s).
        """
        mels, states = self._run(rows, [None] * len(rows))
        return mels, [self._trimmed(state) for state in states]

    @torch.inference_mode()
    def whole(self, tokens: Tensor, codes: Tensor, embedding: Tensor, mel: Tensor) -> Tensor:
        """Synthesise all tokens at once; attention sees the prompt and all of them.

        Args:
            tokens: [n] int64; the rest as in `prepare`.

        Returns:
            [2n, mels]
        """
        check_chunk(tokens, last=True, config=self.flow.config)
        state = self._empty_state(embedding, prompt_frames=len(mel))
        chunk = FlowInput(torch.cat((codes, tokens)), last=True, state=state)
        mels, _ = self._run([chunk], [mel], keep=False)
        return mels[0][len(mel) :]

    def _empty_state(self, embedding: Tensor, prompt_frames: int) -> FlowState:
        return FlowState(
            speaker=self.flow.project_speaker(embedding.to(self.noise)),
            prompt_frames=prompt_frames,
            encoder=self.flow.encoder.empty_state(),
            solver=self.flow.decoder.empty_state(self.steps),
        )

    def _run(
        self, rows: Sequence[FlowInput], conditions: list[Tensor | None], keep: bool = True
    ) -> tuple[list[Tensor], list[FlowState]]:
        for row in rows:
            check_chunk(row.tokens, last=row.last, config=self.flow.config)
            frames = row.state.solver.frames + len(row.tokens) * self.flow.frames_per_token
            if frames > len(self.noise):  # before the encoder makes a matrix of their square
                raise ValueError(f"{frames} frames are more than the {len(self.noise)} of noise")
        mu, encoder_states = self.flow.encode(
            [row.tokens.to(self.noise.device) for row in rows],
            [row.last for row in rows],
            [row.state.encoder for row in rows],
        )
        inputs = []
        for row, frames, known in zip(rows, mu, conditions, strict=True):
            condition = torch.zeros_like(frames)
            if known is not None:
                condition[: len(known)] = known
            inputs.append(SolverInput(frames, row.state.speaker, condition))
        solver_states = [row.state.solver for row in rows]
        mels, solver_states = self.flow.decoder.solve(
            inputs, solver_states, self.noise, self._schedule, keep=keep
        )
        if not keep:
            return mels, []
        parts = zip(rows, encoder_states, solver_states, strict=True)
        return mels, [
            FlowState(row.state.speaker, row.state.prompt_frames, encoder, solver)
            for row, encoder, solver in parts
        ]

    def _trimmed(self, state: FlowState) -> FlowState:
        solver = state.solver
        prompt_tokens = state.prompt_frames // self.flow.frames_per_token
        encoder = state.encoder.trimmed(prompt_tokens, ENCODER_TAIL_TOKENS)
        trimmed = SolverState(solver.conv, trim(solver.history, state.prompt_frames))
        return FlowState(state.speaker, state.prompt_frames, encoder, trimmed)


def check_chunk(tokens: Tensor, *, last: bool, config: FlowConfig) -> None:
    """Raise ValueError unless the tokens [n] can be a chunk of a stream."""
    seen_only = 0 if last else config.encoder.pre_lookahead_len
    if len(tokens) <= seen_only:
        raise ValueError(f"{len(tokens)} tokens, of which {seen_only} are lookahead")
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= config.vocab_size:
        wrong = low if low < 0 else high
        raise ValueError(f"audio token {wrong} is outside the codebook of {config.vocab_size}")
