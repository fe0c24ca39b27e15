"""Whisper's log-mels of many recordings at once, on the device.

The speech tokenizer hears a recording as it is, the Thinker with 479 zeros behind it; each is what
`deployments.mel.log_mel_spectrogram` makes of one recording with as much padding.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from deployments.mel import mel_filterbank
from tests.nano.layers import frame_mask
from tests.nano.sizes import SPEECH_RATE_HZ

MELS = 128
FRAME_SAMPLES = 160  # 100 mel frames a second

_N_FFT = 400


def log_mels(
    samples: Tensor,
    lengths: Tensor,
    *,
    padding: int,
    tilt: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`log_mel_spectrogram` of each recording, whatever it shares a batch with.

    Args:
        samples: [B, N] at 16 kHz, -1 … 1; what follows a recording's end is not heard.
        lengths: [B] samples of each, with the padding more than 200.
        padding: zeros put after each recording.
        tilt: [B, 128, 1], added to log10 of power.

    Returns:
        [B, 128, (N + padding) // 160], zero past each end, and frames [B].
    """
    if padding:
        beyond = torch.arange(samples.shape[1], device=samples.device) >= lengths[:, None]
        samples = F.pad(samples.masked_fill(beyond, 0.0), (0, padding))
    spectrum = torch.stft(
        samples.gather(1, _reflected(lengths + padding, samples.shape[1])),
        _N_FFT,
        FRAME_SAMPLES,
        window=_window(samples.device),
        center=False,
        return_complex=True,
    )
    with torch.autocast(samples.device.type, enabled=False):
        mel = _filters(samples.device) @ (spectrum[..., :-1].abs() ** 2)  # [B, 128, T]
    log_mel = mel.clamp(min=1e-10).log10()
    if tilt is not None:
        log_mel = log_mel + tilt
    frames = (lengths + padding) // FRAME_SAMPLES
    mask = frame_mask(frames, log_mel.shape[2])
    # A recording's floor is 8 below its own maximum.
    loudest = log_mel.masked_fill(mask == 0, -torch.inf).amax((1, 2), keepdim=True)
    return (torch.maximum(log_mel, loudest - 8.0) + 4.0) / 4.0 * mask, frames


def _reflected(lengths: Tensor, count: int) -> Tensor:
    """Places of `count` samples and half a window at either side, reflected at each own end.

    [B] -> [B, 200 + count + 200]
    """
    edge = _N_FFT // 2
    at = torch.arange(-edge, count + edge, device=lengths.device).abs()
    last = lengths[:, None] - 1
    return (last - (last - at).abs()).clamp(min=0)


@cache  # a copy every step would make the device wait
def _filters(where: torch.device) -> Tensor:
    return mel_filterbank(SPEECH_RATE_HZ, _N_FFT, MELS, SPEECH_RATE_HZ / 2).to(where)


@cache
def _window(where: torch.device) -> Tensor:
    return torch.hann_window(_N_FFT, device=where)
