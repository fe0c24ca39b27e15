"""Nano's flow is trained as it is served: the same frames see the same past."""

import numpy as np
import pytest
import torch
from torch import Tensor

from deployments.token2wav.functional import Flow, FlowSynthesizer
from deployments.token2wav.functional.cfm import HISTORY_TAIL_FRAMES, Schedule
from deployments.token2wav.functional.dit import CONV_PAST
from tests.nano import flow as nano
from tests.nano import flow_rows
from tests.nano.sizes import FLOW, USED_CODES
from tests.unit.nano.melodies import MELS


class Voice:
    """Codes [P], embedding [192] and mel [2P, 80] of a prompt, and codes to say."""

    def __init__(self, prompt: int, tokens: int) -> None:
        generator = torch.Generator().manual_seed(prompt)
        self.codes = torch.randint(USED_CODES, (prompt,), generator=generator)
        self.tokens = torch.randint(USED_CODES, (tokens,), generator=generator)
        self.embedding = torch.randn(FLOW.spk_embed_dim, generator=generator)
        self.mel = torch.randn(2 * prompt, MELS, generator=generator) * 2 - 6

    @property
    def row(self) -> Tensor:
        return torch.cat((self.codes, self.tokens))

    def condition(self) -> Tensor:
        return torch.cat((self.mel, torch.zeros(2 * len(self.tokens), MELS)))


def layout(chunks: list[list[int]], width: int) -> flow_rows.Layout:
    sizes = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in chunks], batch_first=True)
    return flow_rows.Layout.of(sizes, sizes.sum(1), width)


def solved(flow: Flow, voice: Voice, chunks: list[int], noise: Tensor, width: int) -> Tensor:
    """What the training forward makes of `noise` [t, 80] in ten guided steps. [t, 80]"""
    cut = layout([chunks], width)
    codes = torch.nn.functional.pad(voice.row, (0, width - len(voice.row)))[None]
    padding = (0, 0, 0, 2 * width - len(noise))
    mu = flow_rows.encode(flow, codes, cut)
    speaker = flow_rows.project_speakers(flow, voice.embedding[None])
    condition = torch.nn.functional.pad(voice.condition(), padding)[None]
    context = flow_rows.context_of(mu, speaker, condition)
    x = torch.nn.functional.pad(noise, padding)[None]
    schedule = Schedule.cosine(10)
    for time, delta in zip(schedule.times, schedule.deltas, strict=True):
        told, free = (
            flow_rows.velocity(flow, x, c, time[None], 2 * cut.lengths, cut.visible())
            for c in (context, torch.zeros_like(context))
        )
        x = x + delta * (1.7 * told - 0.7 * free)
    return x[0, : len(noise)]


@torch.inference_mode()
@pytest.mark.parametrize("padding", [0, 7])
def test_training_forward_of_a_whole_row_is_the_synthesis_at_once(flow: Flow, padding: int) -> None:
    voice = Voice(prompt=20, tokens=30)
    synthesizer = FlowSynthesizer(flow, seed=0)
    expected = synthesizer.whole(voice.tokens, voice.codes, voice.embedding, voice.mel)
    made = solved(flow, voice, [50], synthesizer.noise[:100], 50 + padding)
    torch.testing.assert_close(made[40:], expected, atol=2e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize(("prompt", "tokens"), [(20, 40), (70, 140), (30, 150)])
def test_training_forward_in_chunks_is_the_streamed_synthesis(
    flow: Flow, prompt: int, tokens: int
) -> None:
    """The longer ones outgrow their history: the DiT forgets what `trim` drops."""
    voice = Voice(prompt, tokens)
    synthesizer = FlowSynthesizer(flow, seed=0)
    expected = nano.stream(synthesizer, voice.tokens, voice.codes, voice.embedding, voice.mel)
    sizes = [prompt, 9, 8, 12, 16, 20, *[25] * 8]
    begins = np.cumsum([0, *sizes])
    sizes = [min(size, prompt + tokens - b) for size, b in zip(sizes, begins, strict=False)]
    sizes = [size for size in sizes if size > 0]
    if sizes[-1] <= 3:  # what would only be lookahead is said with the chunk before
        sizes[-2:] = [sum(sizes[-2:])]
    noise, done = [], 0
    for size in sizes:  # as served: noise begins at the length of the trimmed history
        offset = min(done, 2 * prompt + HISTORY_TAIL_FRAMES)
        noise.append(synthesizer.noise[offset : offset + 2 * size])
        done += 2 * size
    made = solved(flow, voice, sizes, torch.cat(noise), prompt + tokens + 5)
    torch.testing.assert_close(made[2 * prompt :], expected, atol=5e-4, rtol=1e-4)


@torch.inference_mode()
def test_encoder_in_chunks_is_the_served_encoder(flow: Flow) -> None:
    first, second = Voice(prompt=20, tokens=32), Voice(prompt=12, tokens=25)
    chunks = [[20, 9, 8, 15], [12, 17, 8]]
    width = 60
    codes = torch.stack(
        [torch.nn.functional.pad(v.row, (0, width - len(v.row)), value=5) for v in (first, second)]
    )
    made = flow_rows.encode(flow, codes, layout(chunks, width))
    for row, voice, sizes in zip(made, (first, second), chunks, strict=True):
        state, at, parts = flow.encoder.empty_state(), 0, []
        for index, size in enumerate(sizes):
            last = index == len(sizes) - 1
            ahead = voice.codes[:3] if index == 0 else voice.row[at + size : at + size + 3]
            tokens = torch.cat((voice.row[at : at + size], ahead[: 0 if last else 3]))
            (mu,), (state,) = flow.encode([tokens], [last], [state])
            parts.append(mu)
            at += size
        torch.testing.assert_close(row[: 2 * at], torch.cat(parts), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_each_row_has_its_own_time(flow: Flow) -> None:
    dit, config = flow.decoder.estimator, FLOW.dit
    times, t = torch.tensor([0.1, 0.7]), 14
    x, context = torch.randn(2, t, MELS), torch.randn(2, t, 3 * MELS)
    lengths = torch.tensor([t, t])
    visible = torch.ones(2, 1, t, t, dtype=torch.bool)
    made = flow_rows.velocity(flow, x, context, times, lengths, visible)
    modulation = dit.modulation(times)
    for row in range(2):
        expected, _, _ = dit(
            torch.cat((x, context), dim=-1)[row : row + 1],
            modulation.blocks[row],
            modulation.final[row],
            torch.zeros(1, config.depth, 2 * config.hidden_size, CONV_PAST),
            torch.zeros(1, config.depth, config.num_heads, 0, 2 * config.head_dim),
            lengths[:1],
            None,
        )
        torch.testing.assert_close(made[row], expected[0], atol=1e-5, rtol=1e-5)
