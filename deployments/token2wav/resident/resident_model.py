"""All of Token2Wav's networks on one GPU, their constants folded, and the memory of its streams."""

from dataclasses import fields

import torch
import torch.nn.functional as F
from torch import Tensor

from deployments.errors import ConfigError
from deployments.messages import AUDIO_TOKENS_PER_SECOND
from deployments.token2wav.functional.flow import Flow
from deployments.token2wav.functional.hift import Hift
from deployments.token2wav.resident.block_history import blocks_for
from deployments.token2wav.resident.kernels.attention import BLOCK
from deployments.token2wav.resident.memory import MemoryPlan, Prices, Take
from deployments.token2wav.resident.resident_encoder import (
    EncoderBuffers,
    EncoderPool,
    ResidentEncoder,
)
from deployments.token2wav.resident.resident_sizes import ResidentSizes
from deployments.token2wav.resident.resident_solver import ResidentSolver, SolverBuffers, SolverPool
from deployments.token2wav.resident.resident_vocoder import (
    ResidentVocoder,
    VocoderBuffers,
    VocoderPool,
)
from deployments.token2wav.resident.step_rows import RowLimits, StepRows
from deployments.token2wav.resident.streams import stream_needs, voice_needs


class Buffers:
    """Where one shape of a step computes, from tokens to PCM."""

    def __init__(self, model: "ResidentModel", rows: int, frames: int, take: Take) -> None:
        self.solver = SolverBuffers(model.solver, rows, frames, take)
        self.encoder = EncoderBuffers(model.encoder, rows, frames // model.frames_per_token, take)
        self.vocoder = VocoderBuffers(model.vocoder, rows, frames, take)


class ResidentModel:
    """Weights, and the pools that all shapes read and write."""

    def __init__(
        self,
        flow: Flow,
        hift: Hift,
        *,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
        sizes: ResidentSizes,
        steps: int,
    ) -> None:
        self.device = device
        self.frames_per_token = per_token = flow.frames_per_token
        affine = flow.spk_embed_affine_layer
        self._speaker = affine.weight.detach().clone(), affine.bias.detach().clone()
        longest = sizes.longest_voice_tokens + sizes.history_tokens + 2 * BLOCK
        self.solver = ResidentSolver(
            flow.decoder, seed=seed, steps=steps, device=device, dtype=dtype
        )
        self.encoder = ResidentEncoder(flow, longest=longest, device=device, dtype=dtype)
        self.vocoder = ResidentVocoder(hift, seed=seed, device=device, dtype=dtype)
        typical = int(sizes.gpu.typical_voice_s * AUDIO_TOKENS_PER_SECOND)
        most = sizes.longest_voice_tokens
        own = stream_needs(most, per_token, sizes.history_tokens)
        shared = voice_needs(most, per_token)
        self.limits = RowLimits(
            solver_blocks=shared.solver_blocks + own.solver_blocks,
            encoder_blocks=shared.encoder_blocks + blocks_for(sizes.history_tokens, BLOCK),
            lookahead=flow.lookahead,
            frames_per_token=per_token,
        )
        try:
            self.plan = MemoryPlan.within(
                sizes.memory_bytes,
                voice=voice_needs(typical, per_token),
                stream=stream_needs(typical, per_token, sizes.history_tokens),
                voices=sizes.gpu.resident_voices,
                prices=self._prices(),
            )
        except ValueError as error:
            raise ConfigError(f"Token2Wav's memory: {error}") from error
        plan = self.plan
        self.solver_pool = SolverPool.allocate(
            self.solver, blocks=plan.solver_blocks, slots=plan.slots
        )
        self.encoder_pool = EncoderPool.allocate(
            self.encoder, blocks=plan.encoder_blocks, slots=plan.slots
        )
        self.vocoder_pool = VocoderPool.allocate(
            mels=self.vocoder.mels, slots=plan.slots, device=device
        )

    def _prices(self) -> Prices:
        """Bytes of each piece, measured on pools of one."""
        meta = torch.device("meta")

        def pools(blocks: int, encoder_blocks: int, slots: int) -> int:
            allocated = (
                SolverPool.allocate(self.solver, blocks=blocks, slots=slots, device=meta),
                EncoderPool.allocate(self.encoder, blocks=encoder_blocks, slots=slots, device=meta),
                VocoderPool.allocate(mels=self.vocoder.mels, slots=slots, device=meta),
            )
            tensors = [getattr(pool, of.name) for pool in allocated for of in fields(pool)]
            return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

        return Prices(pools(1, 0, 0), pools(0, 1, 0), pools(0, 0, 1))

    def project_speaker(self, embedding: Tensor) -> Tensor:
        """[spk_embed_dim] -> [mels], as `Flow.project_speaker`."""
        weight, bias = self._speaker
        return F.linear(F.normalize(embedding.to(weight), dim=0), weight, bias)

    def encode_and_solve(self, buffers: Buffers, rows: StepRows) -> None:
        """Tokens to mels, in `buffers.solver.mel`."""
        self.encoder.encode(buffers.encoder, self.encoder_pool, rows.encoder, buffers.solver.mu)
        self.solver.solve(buffers.solver, self.solver_pool, rows.solver)

    def vocode(self, buffers: Buffers, rows: StepRows) -> None:
        """Mels to samples and PCM, in `buffers.vocoder`."""
        self.vocoder.vocode(buffers.vocoder, self.vocoder_pool, rows.vocoder, buffers.solver.mel)
