"""The resident solve against the functional flow, with the kernels interpreted."""

import numpy as np
import pytest
import torch
from torch import Tensor

from deployments.token2wav.functional.cfm import (
    HISTORY_TAIL_FRAMES,
    ConditionalFlow,
    FoldedSchedule,
    SolverInput,
    SolverState,
    seeded_noise,
    trim,
)
from deployments.token2wav.functional.flow_config import DiTConfig

pytest.importorskip("triton")

from deployments.token2wav.resident.block_history import FrameHistory, PromptLayout
from deployments.token2wav.resident.kernels.attention import BLOCK
from deployments.token2wav.resident.memory import allocator
from deployments.token2wav.resident.resident_solver import ResidentSolver, SolverBuffers, SolverPool
from deployments.token2wav.resident.step_rows import RowLimits, StepRows

CPU = torch.device("cpu")
LIMITS = RowLimits(solver_blocks=8, encoder_blocks=1, lookahead=3, frames_per_token=2)
STEPS, SEED = 1, 0
CONFIG = DiTConfig(
    in_channels=64, out_channels=16, mlp_ratio=2.0, depth=1, num_heads=2, head_dim=16,
    hidden_size=32,
)  # fmt: skip


def random_decoder() -> ConditionalFlow:
    torch.manual_seed(1)
    decoder = ConditionalFlow(CONFIG, 0.7).eval().requires_grad_(False)
    for parameter in decoder.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.15)
    return decoder


class Stream:
    """One stream, run by both."""

    def __init__(self, index: int, prompt: int, decoder: ConditionalFlow) -> None:
        self.index = index
        self.speaker = torch.randn(CONFIG.out_channels)
        self.prompt = prompt
        self.layout = PromptLayout.of(prompt, kept_tail=HISTORY_TAIL_FRAMES, block=BLOCK)
        self.history = FrameHistory(self.layout, kept_tail=HISTORY_TAIL_FRAMES)
        self.blocks = [1 + index * 8 + at for at in range(8)]
        self.state: SolverState = decoder.empty_state(STEPS)
        self.parity = 0


class Pair:
    """The functional solver and the resident one, side by side."""

    def __init__(self, prompts: list[int]) -> None:
        self.decoder = random_decoder()
        self.noise = seeded_noise(CONFIG.out_channels, SEED)
        self.schedule = FoldedSchedule.fold(self.decoder, STEPS)
        self.solver = ResidentSolver(
            self.decoder, seed=SEED, steps=STEPS, device=CPU, dtype=torch.float32
        )
        self.pool = SolverPool.allocate(
            self.solver, blocks=1 + 8 * len(prompts), slots=2 + 2 * len(prompts)
        )
        self.pool.history.fill_(torch.nan)  # what is not valid must not be read
        self.streams = [Stream(i, p, self.decoder) for i, p in enumerate(prompts)]
        for stream in self.streams:
            self.pool.speakers[stream.index] = self.solver.speaker_part(stream.speaker)
            condition = torch.randn(stream.prompt, CONFIG.out_channels)
            self.run([stream], [stream.prompt], stream.prompt, condition=condition)

    def run(
        self,
        streams: list[Stream],
        counts: list[int],
        frames: int,
        *,
        unused: int = 0,
        condition: Tensor | None = None,
    ) -> None:
        """One solve of a shape with rows for `streams` and `unused` ones."""
        mus = [torch.randn(n, CONFIG.out_channels) for n in counts]
        inputs = [
            SolverInput(mu, s.speaker, torch.zeros_like(mu) if condition is None else condition)
            for mu, s in zip(mus, streams, strict=True)
        ]
        with torch.inference_mode():
            expected, states = self.decoder.solve(
                inputs, [s.state for s in streams], self.noise, self.schedule
            )
        rows = StepRows(len(streams) + unused, frames, LIMITS, CPU)
        host = rows.host
        buffers = SolverBuffers(self.solver, len(streams) + unused, frames, allocator(CPU))
        buffers.mu.normal_()
        if condition is not None:
            buffers.condition = condition[None]
        for at, (stream, mu, count) in enumerate(zip(streams, mus, counts, strict=True)):
            buffers.mu[at, :count] = mu
            history = stream.history
            if condition is None:
                host["spans"][at] = (history.head, history.tail_begin, history.own_end)
                host["offsets"][at] = history.frames
                addresses = history.append(count)
            else:
                addresses = stream.layout.addresses()
            blocks = np.asarray(stream.blocks)
            physical = blocks[addresses // BLOCK] * BLOCK + addresses % BLOCK
            host["table"][at] = blocks
            host["places"][at, :count] = np.where(addresses < 0, -1, physical)
            host["lengths"][at] = count
            slot = 2 + 2 * stream.index
            host["slots"][at] = (slot + stream.parity, slot + 1 - stream.parity)
            host["voices"][at] = stream.index
            stream.parity ^= 1
        rows.upload()
        buffers.mel.fill_(torch.nan)
        mel = self.solver.solve(buffers, self.pool, rows.solver)
        for at, (stream, count, state) in enumerate(zip(streams, counts, states, strict=True)):
            torch.testing.assert_close(mel[at, :count], expected[at], rtol=1e-4, atol=1e-4)
            stream.state = SolverState(state.conv, trim(state.history, stream.prompt))


def test_streams_with_other_prompts_and_lengths_share_a_step() -> None:
    pair = Pair([10, 102])  # of the longer one two frames may be dropped
    pair.run(pair.streams, [6, 4], 6, unused=1)
    pair.run(pair.streams[1:], [5], 6, unused=1)
    pair.run(pair.streams, [2, 6], 6, unused=1)


def test_a_history_beyond_its_limit_drops_what_the_official_rule_drops() -> None:
    pair = Pair([6])
    for count in (40, 40, 30, 6, 6):  # the fourth writes where frames were dropped
        pair.run(pair.streams, [count], count)
