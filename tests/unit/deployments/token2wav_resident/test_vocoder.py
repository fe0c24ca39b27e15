"""The resident vocoder against the functional one, with the kernels interpreted."""

import numpy as np
import pytest
import torch

from deployments.token2wav.functional import Hift, HiftConfig, HiftInput, HiftState, Vocoder

pytest.importorskip("triton")

from deployments.token2wav.resident.resident_vocoder import (
    ResidentVocoder,
    VocoderBuffers,
    VocoderPool,
)
from deployments.token2wav.resident.step_rows import RowLimits, StepRows

CPU = torch.device("cpu")
LIMITS = RowLimits(solver_blocks=1, encoder_blocks=1, lookahead=3, frames_per_token=2)


def test_rows_of_other_lengths_equal_the_functional_vocoder_and_hold_back_the_same() -> None:
    torch.manual_seed(2)
    hift = Hift(HiftConfig(mels=16, base_channels=32, f0_channels=16)).eval().requires_grad_(False)
    hift.fold_weight_norm()
    hift.f0_predictor.classifier.bias.fill_(150.0)  # voiced
    functional = Vocoder(hift, seed=0)
    model = ResidentVocoder(hift, seed=0, device=CPU, dtype=torch.float32)
    pool = VocoderPool.allocate(mels=16, slots=5, device=CPU)
    for part in (pool.mel, pool.source, pool.samples):
        part.fill_(torch.nan)
    states = [HiftState.empty(hift) for _ in range(2)]
    parity = [0, 0]

    def run(chosen: list[int], counts: list[int], frames: int) -> None:
        mels = [torch.randn(n, 16) for n in counts]
        inputs = [HiftInput(m, True, states[i]) for i, m in zip(chosen, mels, strict=True)]
        expected, after = functional.step(inputs)
        rows = StepRows(len(chosen), frames, LIMITS, CPU)
        buffers = VocoderBuffers(
            model, len(chosen), frames, lambda shape, dtype: torch.full(shape, 7, dtype=dtype)
        )
        mel = torch.full((len(chosen), frames, 16), torch.nan)
        for at, (index, count) in enumerate(zip(chosen, counts, strict=True)):
            rows.host["lengths"][at] = count
            rows.host["held"][at] = len(states[index].mel)
            rows.host["positions"][at] = states[index].frame * 480
            slot = 1 + 2 * index
            rows.host["slots"][at] = (slot + parity[index], slot + 1 - parity[index])
            mel[at, :count] = mels[at]
            parity[index] ^= 1
        rows.upload()
        buffers.sound.fill_(torch.nan)
        model.vocode(buffers, pool, rows.vocoder, mel)
        for at, index in enumerate(chosen):
            got = buffers.sound[at, : len(expected[at])]
            torch.testing.assert_close(got, expected[at], rtol=2e-3, atol=2e-3)
            pcm = (np.clip(got.numpy(), -1, 1) * 32767).astype(np.int16)
            assert np.array_equal(buffers.pcm[at, : len(pcm)].numpy(), pcm)
            states[index] = after[at]

    run([0, 1], [2, 3], 3)
    run([1, 0], [2, 1], 3)
