"""The resident encoder against the functional one, with the kernels interpreted."""

import numpy as np
import pytest
import torch

from deployments.token2wav.functional import Flow, FlowConfig
from deployments.token2wav.functional.flow_config import DiTConfig, EncoderConfig

pytest.importorskip("triton")

from deployments.token2wav.resident.block_history import TokenHistory
from deployments.token2wav.resident.kernels.attention import BLOCK
from deployments.token2wav.resident.memory import allocator
from deployments.token2wav.resident.resident_encoder import (
    EncoderBuffers,
    EncoderPool,
    ResidentEncoder,
)
from deployments.token2wav.resident.step_rows import RowLimits, StepRows

CPU = torch.device("cpu")
LIMITS = RowLimits(solver_blocks=1, encoder_blocks=4, lookahead=3, frames_per_token=2)
CONFIG = FlowConfig(
    input_size=32, output_size=16, spk_embed_dim=8, vocab_size=50,
    encoder=EncoderConfig(input_size=32, output_size=32, num_blocks=1, num_up_blocks=1,
                          attention_heads=2, linear_units=32),
    dit=DiTConfig(in_channels=64, out_channels=16, depth=1, num_heads=1, head_dim=16,
                  hidden_size=16),
)  # fmt: skip


def random_flow() -> Flow:
    torch.manual_seed(1)
    flow = Flow(CONFIG).eval().requires_grad_(False)
    for parameter in flow.encoder.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.3)
    return flow


class Stream:
    def __init__(self, index: int, prompt: int, flow: Flow) -> None:
        self.blocks = [1 + 4 * index, 2 + 4 * index, 3 + 4 * index, 4 + 4 * index]
        self.prompt_blocks = -(-prompt // BLOCK)
        self.prompt = prompt
        self.history = TokenHistory(prompt, self.blocks[self.prompt_blocks :], BLOCK)
        self.state = flow.encoder.empty_state()
        self.slot, self.parity = 1 + 2 * index, 0


def test_rows_of_other_lengths_and_histories_equal_the_functional_encoder() -> None:
    flow = random_flow()
    model = ResidentEncoder(flow, longest=300, device=CPU, dtype=torch.float32)
    pool = EncoderPool.allocate(model, blocks=9, slots=5)
    pool.attention.fill_(torch.nan)
    pool.up_attention.fill_(torch.nan)
    streams = [Stream(0, 5, flow), Stream(1, 70, flow)]

    def run(chosen: list[Stream], counts: list[int], last: list[bool], prepare: bool) -> None:
        tokens = [
            torch.randint(50, (n + (0 if end else 3),)) for n, end in zip(counts, last, strict=True)
        ]
        with torch.inference_mode():
            expected, states = flow.encode(tokens, last, [s.state for s in chosen])
        most = max(counts)
        rows = StepRows(len(chosen) + 1, 2 * most, LIMITS, CPU)
        host = rows.host
        for at, (stream, count) in enumerate(zip(chosen, counts, strict=True)):
            blocks = np.asarray(stream.blocks)
            host["tokens"][at, : len(tokens[at])] = tokens[at].numpy()
            host["lengths"][at] = 2 * count
            begin = stream.prompt_blocks * BLOCK
            if prepare:
                addresses = np.arange(count)
                host["encoder_places"][at, :count] = (
                    blocks[addresses // BLOCK] * BLOCK + addresses % BLOCK
                )
            else:
                host["encoder_spans"][at] = (stream.prompt, begin, begin + stream.history.own)
                host["encoder_places"][at, :count] = stream.history.append(count)
            host["encoder_table"][at] = blocks
            slots = (stream.slot + stream.parity, stream.slot + 1 - stream.parity)
            host["slots"][at] = slots
            stream.parity ^= 1
        rows.upload()
        mu = torch.full((len(chosen) + 1, 2 * most, 16), torch.nan)
        buffers = EncoderBuffers(model, len(chosen) + 1, most, allocator(CPU))
        model.encode(buffers, pool, rows.encoder, mu)
        for at, (stream, count) in enumerate(zip(chosen, counts, strict=True)):
            torch.testing.assert_close(mu[at, : 2 * count], expected[at], rtol=1e-4, atol=1e-4)
            stream.state = states[at]

    for stream in streams:
        run([stream], [stream.prompt], [False], prepare=True)
    run(streams, [4, 3], [False, False], prepare=False)
    run(streams, [2, 4], [False, True], prepare=False)
