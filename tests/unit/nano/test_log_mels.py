"""Log-mels of many recordings at once are the server's of each."""

import pytest
import torch

from deployments.mel import log_mel_spectrogram
from deployments.thinker.vllm_plugin.lengths import MEL_PADDING
from tests.nano.log_mels import log_mels
from tests.unit.nano.hums import RECORDINGS, padded


@pytest.mark.parametrize("padding", [0, 1, MEL_PADDING])
def test_the_log_mel_of_a_batch_is_that_of_each_recording_alone(padding: int) -> None:
    mels, frames = log_mels(*padded(RECORDINGS), padding=padding)
    for mel, count, recording in zip(mels, frames, RECORDINGS, strict=True):
        samples = torch.from_numpy(recording / 32768).float()
        alone = log_mel_spectrogram(samples, padding=padding)
        assert count == alone.shape[1]
        assert (mel[:, :count] - alone).abs().max() < 1e-3
        assert not mel[:, count:].any()


def test_a_tilt_moves_each_channel_by_its_share_before_the_floor_is_set() -> None:
    samples, lengths = padded(RECORDINGS)
    even, _ = log_mels(samples, lengths, padding=0)
    raised, frames = log_mels(
        samples, lengths, padding=0, tilt=torch.full((len(RECORDINGS), 128, 1), 0.4)
    )
    for one, other, count in zip(even, raised, frames, strict=True):
        assert torch.allclose(other[:, :count], one[:, :count] + 0.1, atol=1e-5)
