"""All of Token2Wav's networks on one GPU, their constants folded, and the memory of its streams."""

import logging
from dataclasses import fields

import torch
import torch.nn.functional as F
from torch import Tensor

from deployments.messages import AUDIO_TOKENS_PER_SECOND
from deployments.token2wav.functional.flow import Flow
from deployments.token2wav.functional.hift import Hift
from deployments.token2wav.resident.block_history import blocks_for
from deployments.token2wav.resident.kernels.attention import BLOCK
from deployments.token2wav.resident.memory import (
    GIB,
    Budget,
    MemoryPlan,
    PieceSizes,
    Take,
)
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

logger = logging.getLogger(__name__)


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
        most = sizes.longest_voice_tokens
        own = stream_needs(most, per_token, sizes.history_tokens)
        shared = voice_needs(most, per_token)
        self.limits = RowLimits(
            solver_blocks=shared.solver_blocks + own.solver_blocks,
            encoder_blocks=shared.encoder_blocks + blocks_for(sizes.history_tokens, BLOCK),
            lookahead=flow.lookahead,
            frames_per_token=per_token,
        )
        self.plan = self._plan(sizes)
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

    def _plan(self, sizes: ResidentSizes) -> MemoryPlan:
        """Divide the budget by the voices that are configured, and say how many streams it holds.

        Raises:
            ConfigError: it holds none.
        """
        per_token, pieces = self.frames_per_token, self._piece_sizes()
        by_length = sorted(sizes.voice_tokens, reverse=True)
        most = sizes.gpu.resident_voices
        with_place = (by_length + most * by_length[:1])[:most]  # recordings of requests as well
        budget = self._budget(sizes)
        plan = MemoryPlan.within(
            budget,
            voices=[voice_needs(n, per_token) for n in with_place],
            streams=[stream_needs(n, per_token, sizes.history_tokens) for n in by_length],
            sizes=pieces,
            most=sizes.max_streams,
        )
        shortest_s, longest_s = (by_length[at] / AUDIO_TOKENS_PER_SECOND for at in (-1, 0))
        logger.info(
            "Token2Wav: %.1f GiB hold %d streams in a voice of %.1f s, %d in one of %.1f s; "
            "%.1f GiB could be had (%s)",
            plan.bytes(pieces) / GIB, plan.max_streams, shortest_s, plan.in_longest, longest_s,
            budget.bytes / GIB, budget.source,
        )  # fmt: skip
        if sizes.max_streams is not None and plan.in_longest < sizes.max_streams:
            logger.warning(
                "Token2Wav: max_streams is %d, but %.1f GiB (%s) hold %d in the longest voice",
                sizes.max_streams, budget.bytes / GIB, budget.source, plan.in_longest,
            )  # fmt: skip
        return plan

    def _budget(self, sizes: ResidentSizes) -> Budget:
        free = total = own = 0
        if self.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self.device)
            own = torch.cuda.memory_reserved(self.device)
        return Budget.of(sizes.gpu, sizes.gpu_share, free=free, total=total, own=own)

    def _piece_sizes(self) -> PieceSizes:
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

        return PieceSizes(pools(1, 0, 0), pools(0, 1, 0), pools(0, 0, 1))

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
