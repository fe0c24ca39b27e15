"""Conditional flow matching: noise → mel in a fixed number of guided Euler steps.

A stream keeps, for every Euler step, the DiT's keys and values of earlier frames. As in the
official package they lie newest first, and a history longer than the prompt plus 100 frames
keeps its newest `prompt` frames and its oldest 100 (the end of the prompt).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deployments.token2wav.functional.dit import CONV_PAST, DiT
from deployments.token2wav.functional.flow_config import DiTConfig
from deployments.token2wav.functional.padding import pad_right

HISTORY_TAIL_FRAMES = 100
NOISE_FRAMES = 30_000  # 600 s at 50 frames a second


@dataclass(frozen=True, slots=True, eq=False)
class SolverState:
    """The DiT's past of one stream, for each Euler step; 2 is with and without condition."""

    conv: Tensor  # [steps, 2, depth, 2C, CONV_PAST]
    history: Tensor  # [steps, 2, depth, heads, T, 2 * head_dim], newest chunk first

    @property
    def frames(self) -> int:
        """Length T of the history."""
        return self.history.shape[4]


@dataclass(frozen=True, slots=True, eq=False)
class SolverInput:
    """One stream's new frames: mels stand in the last dimension."""

    mu: Tensor  # [t, mels] encoder output
    speaker: Tensor  # [mels]
    condition: Tensor  # [t, mels] the prompt's mel where it is known, else zero


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Timesteps t_k and step sizes of t = 1 - cos(pi i / 2N)."""

    times: Tensor  # [steps] float32
    deltas: Tensor  # [steps] float32

    @classmethod
    def cosine(cls, steps: int) -> "Schedule":
        """Accumulated in float32, as the official solver does."""
        span = 1 - torch.cos(torch.linspace(0, 1, steps + 1) * 0.5 * torch.pi)
        t, dt = span[0], span[1] - span[0]
        times, deltas = [], []
        for index in range(1, steps + 1):
            times.append(t)
            deltas.append(dt)
            t = t + dt
            if index < steps:
                dt = span[index + 1] - t
        return cls(torch.stack(times), torch.stack(deltas))


def seeded_noise(mels: int, seed: int) -> Tensor:
    """The fixed noise that every stream starts from. [NOISE_FRAMES, mels] float32

    Drawn as [1, mels, frames], the order in which the official package draws its own.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((1, mels, NOISE_FRAMES), generator=generator)
    return noise[0].T.contiguous()


def trim(history: Tensor, prompt_frames: int) -> Tensor:
    """Keep the first `prompt_frames` and the last 100 of [..., T, D], if T is more."""
    if history.shape[-2] <= prompt_frames + HISTORY_TAIL_FRAMES:
        return history
    first, last = history[..., :prompt_frames, :], history[..., -HISTORY_TAIL_FRAMES:, :]
    return torch.cat((first, last), dim=-2)


class ConditionalFlow(nn.Module):
    """The DiT under classifier-free guidance."""

    def __init__(self, config: DiTConfig, guidance: float) -> None:
        super().__init__()
        self.estimator = DiT(config)
        self.guidance = guidance

    def empty_state(self, steps: int) -> SolverState:
        """The state of a stream that has seen nothing."""
        config, like = self.estimator.config, self.estimator.in_proj.weight
        pair = 2 * config.head_dim
        return SolverState(
            conv=like.new_zeros(steps, 2, config.depth, 2 * config.hidden_size, CONV_PAST),
            history=like.new_zeros(steps, 2, config.depth, config.num_heads, 0, pair),
        )

    def solve(
        self,
        rows: list[SolverInput],
        states: list[SolverState],
        noise: Tensor,
        schedule: "FoldedSchedule",
        *,
        keep: bool = True,
    ) -> tuple[list[Tensor], list[SolverState]]:
        """Make the mels of every row's new frames.

        Args:
            rows, states: one of each a stream; lengths may differ.
            noise: [NOISE_FRAMES, mels]; a row begins at the length of its history and must end
                within it.
            schedule: the timesteps with what the DiT makes of them.
            keep: whether to return the next states (a whole synthesis needs none).

        Returns:
            Mels [t, mels] of each row, and the next states, not trimmed.
        """
        offsets = [state.frames for state in states]
        starts = []
        for row, offset in zip(rows, offsets, strict=True):
            starts.append(noise[offset : offset + len(row.mu)].to(row.mu))
        x, lengths = pad_right(starts, dim=0)  # [B, t, mels]
        inputs = _guided([self._context(row) for row in rows])  # [2B, t, 3 * mels]
        # [steps, 2B, …], rows with condition before rows without
        conv = torch.cat([torch.stack([s.conv[:, c] for s in states], 1) for c in (0, 1)], 1)
        history = _histories(states)
        visible = _visible(lengths, x.shape[1], offsets, history.shape[4], x.device)
        valid = torch.tensor(lengths * 2, device=x.device)
        next_conv, new = [], []
        for step, delta in enumerate(schedule.deltas):
            flow, conv_step, new_step = self.estimator(
                torch.cat((torch.cat((x, x)), inputs), dim=-1),
                schedule.blocks[step],
                schedule.final[step],
                conv[step],
                history[step],
                valid,
                visible,
            )
            conditional, free = flow.chunk(2)
            x = x + delta * ((1.0 + self.guidance) * conditional - self.guidance * free)
            if keep:
                next_conv.append(conv_step)
                new.append(new_step)
        mels = [row[:n] for row, n in zip(x, lengths, strict=True)]
        if not keep:
            return mels, []
        return mels, _next_states(torch.stack(next_conv), new, states, lengths)

    @staticmethod
    def _context(row: SolverInput) -> Tensor:
        speaker = row.speaker.expand(len(row.mu), -1)
        return torch.cat((row.mu, speaker, row.condition), dim=-1)  # [t, 3 * mels]


@dataclass(frozen=True, slots=True, eq=False)
class FoldedSchedule:
    """Step sizes, and the DiT's modulation at each step as constants."""

    deltas: tuple[float, ...]
    blocks: Tensor  # [steps, depth, 9, C]
    final: Tensor  # [steps, 2, C]

    @classmethod
    def fold(cls, decoder: ConditionalFlow, steps: int) -> "FoldedSchedule":
        """Valid as long as the decoder's weights, device and dtype stay as they are."""
        schedule = Schedule.cosine(steps)
        like = decoder.estimator.in_proj.weight
        modulation = decoder.estimator.modulation(schedule.times.to(like))
        return cls(tuple(schedule.deltas.tolist()), modulation.blocks, modulation.final)


def _guided(contexts: list[Tensor]) -> Tensor:
    """Contexts with condition, then as many of zeros. [2B, t, 3 * mels]"""
    context, _ = pad_right(contexts, dim=0)
    return torch.cat((context, torch.zeros_like(context)))


def _histories(states: list[SolverState]) -> Tensor:
    """[steps, 2B, depth, heads, T, 2 * head_dim], padded after each row's own."""
    if len(states) == 1:
        return states[0].history
    padded, _ = pad_right([state.history for state in states], dim=4)  # [B, steps, 2, …]
    return padded.permute(1, 2, 0, 3, 4, 5, 6).flatten(1, 2)


def _visible(
    lengths: list[int], new: int, offsets: list[int], past: int, device: torch.device
) -> Tensor | None:
    """[2B, 1, 1, new + past] bool: which keys each row may see; None if all."""
    if len(set(lengths)) == 1 and len(set(offsets)) == 1:
        return None
    at = torch.arange(new + past, device=device)
    own = torch.tensor(lengths, device=device)[:, None]
    known = torch.tensor(offsets, device=device)[:, None]
    visible = (at < own) | ((at >= new) & (at < new + known))
    return visible.repeat(2, 1)[:, None, None]


def _next_states(
    conv: Tensor, new: list[Tensor], states: list[SolverState], lengths: list[int]
) -> list[SolverState]:
    count = len(states)
    result = []
    for row, (state, length) in enumerate(zip(states, lengths, strict=True)):
        pair = [row, row + count]
        added = torch.stack([step[pair, :, :, :length] for step in new])
        history = torch.cat((added, state.history), dim=4)
        result.append(SolverState(conv[:, pair], history))
    return result
