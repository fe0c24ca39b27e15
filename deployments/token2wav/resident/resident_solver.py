"""The flow's solve over resident history: ten guided Euler steps of the DiT, batched.

Everything is written into buffers of fixed addresses and reads nothing from the host, so that
the whole solve can be captured in a CUDA graph. What depends on the timestep alone is folded
into tables; what depends on a voice or a chunk alone is computed once.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from deployments.token2wav.functional.cfm import ConditionalFlow, FoldedSchedule, seeded_noise
from deployments.token2wav.resident.kernels import attention, fused_dit
from deployments.token2wav.resident.memory import Take
from deployments.token2wav.resident.step_rows import SolverRows


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """One DiT block's weights, transposed for `addmm`: [in, out]."""

    qkv: tuple[Tensor, Tensor]
    norms: Tensor  # [4, head_dim] float32
    proj: tuple[Tensor, Tensor]
    conv1: tuple[Tensor, Tensor]  # [3 C, C]
    conv_norm: tuple[Tensor, Tensor]  # float32
    conv2: tuple[Tensor, Tensor]
    fc1: tuple[Tensor, Tensor]
    fc2: tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class SolverPool:
    """Every stream's and voice's past, on the GPU."""

    history: Tensor  # [steps, depth, blocks, 2, heads, 2, BLOCK, head_dim]
    conv: Tensor  # [steps, depth, 2 convolutions, 2 guidance, slots, 2 frames, C]
    speakers: Tensor  # [slots, C] float32, at a voice's slot

    @classmethod
    def allocate(
        cls,
        solver: "ResidentSolver",
        *,
        blocks: int,
        slots: int,
        device: torch.device | None = None,
    ) -> "SolverPool":
        """On the solver's device where `device` is None."""
        config, device = solver.config, device or solver.noise.device
        shape = (solver.steps, config.depth)
        pair = (2, config.num_heads, 2, attention.BLOCK, config.head_dim)
        options = {"dtype": solver.dtype, "device": device}
        return cls(
            history=torch.zeros(*shape, blocks, *pair, **options),
            conv=torch.zeros(*shape, 2, 2, slots, 2, config.hidden_size, **options),
            speakers=torch.zeros(slots, config.hidden_size, device=device),
        )


class SolverBuffers:
    """Where one shape of a solve computes."""

    def __init__(self, solver: "ResidentSolver", rows: int, frames: int, take: Take) -> None:
        config, dtype, exact = solver.config, solver.dtype, torch.float32
        width, inner = config.hidden_size, config.num_heads * config.head_dim
        mels = config.out_channels
        single, double = rows * frames, 2 * rows * frames
        self.mu = take((rows, frames, mels), dtype)
        self.condition: Tensor | None = None  # the known mel while a voice is prepared
        self.mel = take((rows, frames, mels), exact)
        self.noisy = take((rows, frames, mels), dtype)
        self.entry = take((single, width), dtype)
        self.context = take((single, width), dtype)
        self.x = take((double, width), exact)
        self.h = take((double, width), dtype)
        self.qkv = take((double, 3 * inner), dtype)
        self.attended = take((double, inner), dtype)
        self.update = take((double, width), dtype)
        self.taps = take((double, 3 * width), dtype)
        self.hidden = take((double, int(width * config.mlp_ratio)), dtype)
        self.flow = take((double, mels), dtype)
        size = attention.partial_size(2 * rows, frames, config.num_heads, config.head_dim)
        self.partial = take((size,), exact) if size else None


class ResidentSolver:
    """The DiT's weights and constants on the GPU."""

    def __init__(
        self,
        decoder: ConditionalFlow,
        *,
        seed: int,
        steps: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """`decoder` must be float32, on any device; it is not kept."""
        estimator = decoder.estimator
        self.config, self.steps, self.dtype = estimator.config, steps, dtype
        self.guidance = decoder.guidance
        schedule = FoldedSchedule.fold(decoder, steps)
        self.deltas = schedule.deltas
        # [steps, depth, 9, C] and [steps, 2, C]: shift, scale, gate of attention, mlp, convolution
        self.modulation = schedule.blocks.to(device, torch.float32).contiguous()
        self.final = schedule.final.to(device, torch.float32).contiguous()
        self.noise = seeded_noise(self.config.out_channels, seed).to(device)

        def matrix(weight: Tensor) -> Tensor:
            """[out, in] -> [in, out], column-major as the product wants it."""
            return weight.detach().to(device, dtype).contiguous().T

        def linear(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
            return matrix(weight), bias.detach().to(device, dtype)

        def convolution(conv: torch.nn.Conv1d) -> tuple[Tensor, Tensor]:
            return linear(conv.weight.permute(0, 2, 1).flatten(1), conv.bias)

        def exact(*tensors: Tensor) -> tuple[Tensor, ...]:
            return tuple(tensor.detach().to(device, torch.float32) for tensor in tensors)

        mels = self.config.out_channels
        weight = estimator.in_proj.weight
        # columns: noisy mel, encoder output, speaker, condition
        self._w_noisy, self._w_mu, self._w_speaker, self._w_condition = (
            matrix(part) for part in weight.split(mels, dim=1)
        )
        self._in_bias = exact(estimator.in_proj.bias)[0]
        self._speaker = exact(weight[:, 2 * mels : 3 * mels])[0]
        self._out = matrix(estimator.final_layer.linear.weight)
        self._out_bias = exact(estimator.final_layer.linear.bias)[0]
        self._blocks = []
        for block in estimator.blocks:
            attn, conv = block.attn, block.conv.block
            projections = (attn.to_q, attn.to_k, attn.to_v)
            norms = (attn.q_norm, attn.k_norm)
            self._blocks.append(
                _Block(
                    qkv=linear(
                        torch.cat([p.weight for p in projections]),
                        torch.cat([p.bias for p in projections]),
                    ),
                    norms=torch.stack(exact(*(t for n in norms for t in (n.weight, n.bias)))),
                    proj=linear(attn.proj.weight, attn.proj.bias),
                    conv1=convolution(conv["1"]),
                    conv_norm=exact(conv["3"].weight, conv["3"].bias),
                    conv2=convolution(conv["6"]),
                    fc1=linear(block.mlp.fc1.weight, block.mlp.fc1.bias),
                    fc2=linear(block.mlp.fc2.weight, block.mlp.fc2.bias),
                )
            )

    def speaker_part(self, speaker: Tensor) -> Tensor:
        """What a projected speaker embedding [mels] adds to every frame, bias included. [C]"""
        return self._speaker @ speaker.to(self._speaker) + self._in_bias

    @torch.inference_mode()
    def solve(self, buffers: SolverBuffers, pool: SolverPool, rows: SolverRows) -> Tensor:
        """Make the mels of `buffers.mu`, and move every row's past on.

        Returns:
            [rows, frames, mels] float32, `buffers.mel`; frames after a row's own mean nothing.
        """
        self.begin(buffers, rows)
        for step in range(self.steps):
            self.euler_step(buffers, pool, rows, step)
        return buffers.mel

    @torch.inference_mode()
    def begin(self, buffers: SolverBuffers, rows: SolverRows) -> None:
        """What of a solve comes before its first Euler step: the noise, and what all steps read."""
        b, mels = buffers, self.config.out_channels
        torch.mm(b.mu.view(-1, mels), self._w_mu, out=b.context)
        if b.condition is not None:
            b.context += b.condition.view(-1, mels) @ self._w_condition
        fused_dit.start(self.noise, rows.offsets, b.mel, b.noisy)

    @torch.inference_mode()
    def euler_step(
        self, buffers: SolverBuffers, pool: SolverPool, rows: SolverRows, step: int
    ) -> None:
        """Move `buffers.mel`, and every row's past at this step, on. Steps count from 0."""
        b, mels = buffers, self.config.out_channels
        torch.mm(b.noisy.view(-1, mels), self._w_noisy, out=b.entry)
        fused_dit.enter(
            b.entry, b.context, pool.speakers, rows.voices, self._in_bias,
            b.x, b.h, self.modulation[step, 0, 0:2],
        )  # fmt: skip
        for index in range(len(self._blocks)):
            self._block(b, pool, rows, step, index)
        torch.mm(b.h, self._out, out=b.flow)
        delta = self.deltas[step]
        fused_dit.euler(b.mel, b.noisy, b.flow, self._out_bias, delta, self.guidance)

    def _block(
        self, b: SolverBuffers, pool: SolverPool, rows: SolverRows, step: int, index: int
    ) -> None:
        """One block; `b.h` holds its modulated input, and then the next one's."""
        block, modulation = self._blocks[index], self.modulation[step, index]
        history, conv = pool.history[step, index], pool.conv[step, index]
        # shift, scale, gate of each
        shift_scale = {"mlp": modulation[3:5], "conv": modulation[6:8]}
        gate = {"attention": modulation[2], "mlp": modulation[5], "conv": modulation[8]}
        _multiply(b.h, block.qkv, b.qkv)
        attention.attend(
            b.qkv, block.norms, history, rows.table, rows.spans, rows.lengths,
            b.attended, b.partial,
        )  # fmt: skip
        _multiply(b.attended, block.proj, b.update)
        fused_dit.residual_taps(
            b.x, b.update, gate["attention"], b.taps, shift_scale["conv"], conv[0],
            b.qkv, block.norms, history, rows.lengths, rows.places, rows.slots,
        )  # fmt: skip
        _multiply(b.taps, block.conv1, b.update)
        fused_dit.mish_taps(b.update, *block.conv_norm, b.taps, conv[1], rows.lengths, rows.slots)
        _multiply(b.taps, block.conv2, b.update)
        fused_dit.residual(b.x, b.update, gate["conv"], b.h, shift_scale["mlp"])
        _multiply_gelu(b.h, block.fc1, b.hidden)
        _multiply(b.hidden, block.fc2, b.update)
        following = (
            self.modulation[step, index + 1, 0:2]
            if index + 1 < len(self._blocks)
            else self.final[step]
        )
        fused_dit.residual(b.x, b.update, gate["mlp"], b.h, following)


def _multiply(x: Tensor, layer: tuple[Tensor, Tensor], out: Tensor) -> None:
    weight, bias = layer
    torch.addmm(bias, x, weight, out=out)


def _multiply_gelu(x: Tensor, layer: tuple[Tensor, Tensor], out: Tensor) -> None:
    weight, bias = layer
    if x.is_cuda and x.dtype != torch.float32:
        # cuBLASLt's epilogue is the tanh form
        torch._addmm_activation(bias, x, weight, use_gelu=True, out=out)
    else:
        out.copy_(F.gelu(torch.addmm(bias, x, weight), approximate="tanh"))
