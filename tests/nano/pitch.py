"""The pitch of speech, frame by frame: what the vocoder's predictor of pitch is taught.

Autocorrelation of a Hann-windowed frame over that of the window itself (P. Boersma, "Accurate
short-term analysis of the fundamental frequency", IFA Proceedings 17, 1993), in batches on any
device. Without his search for a path: eSpeak's voices are clean enough, and a median over three
frames removes what is left.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from deployments.token2wav.functional import SAMPLES_PER_FRAME
from deployments.token2wav.functional.source import SAMPLE_RATE_HZ

CONTEXT = 720  # samples on each side of the frames, as many as the mel's window of 1920 looks out
LOWEST_HZ, HIGHEST_HZ = 50.0, 450.0
_WINDOW = 1440  # 60 ms: three periods of the lowest pitch
_N_FFT = 2048  # more than the window and the longest lag together: nothing wraps around
_VOICED_ABOVE = 0.5  # of the autocorrelation at no lag
_OCTAVE_COST = (
    0.02  # an octave down must be better by this much, for every multiple is a period too
)
_SILENT_RMS = 3e-3


def track_pitch(samples: Tensor) -> Tensor:
    """Fundamental frequency of frames of 480 samples at 24 kHz, centred as the mel's are.

    Args:
        samples: [B, 480 T + 2 * CONTEXT], of which the frames are the middle.

    Returns:
        [B, T] in Hz, 0 where there is no pitch.
    """
    edge = CONTEXT - (_WINDOW - SAMPLES_PER_FRAME) // 2
    frames = samples[:, edge:-edge].unfold(1, _WINDOW, SAMPLES_PER_FRAME)  # [B, T, 1200]
    frames = frames - frames.mean(-1, keepdim=True)
    window = torch.hann_window(_WINDOW, device=samples.device)
    first = int(SAMPLE_RATE_HZ / HIGHEST_HZ)
    last = int(SAMPLE_RATE_HZ / LOWEST_HZ)
    # one lag more at both ends, where a peak must fall off
    alike = (_autocorrelation(frames * window) / _autocorrelation(window))[
        ..., first - 1 : last + 2
    ]
    before, here, after = alike[..., :-2], alike[..., 1:-1], alike[..., 2:]
    lags = torch.arange(first, last + 1, device=samples.device)
    peaks = (here > before) & (here >= after)
    score = torch.where(peaks, here - _OCTAVE_COST * lags.log2(), -torch.inf)
    best = score.argmax(-1, keepdim=True)  # [B, T, 1]
    low, mid, high = (x.gather(-1, best).squeeze(-1) for x in (before, here, after))
    bend = (2 * mid - low - high).clamp(min=1e-9)
    lag = lags[best.squeeze(-1)] + 0.5 * (high - low) / bend  # the top of a parabola through three
    loud = frames.square().mean(-1) > _SILENT_RMS**2
    voiced = (mid > _VOICED_ABOVE) & loud & peaks.any(-1)
    return _median_of_three(torch.where(voiced, SAMPLE_RATE_HZ / lag, 0.0))


def with_context(recording: Tensor) -> Tensor:
    """A whole recording [N] with silence around it: [1, 480 T + 2 * CONTEXT], T = N // 480."""
    whole = len(recording) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
    return F.pad(recording[None, :whole], (CONTEXT, CONTEXT))


def _autocorrelation(frames: Tensor) -> Tensor:
    """Of [..., window], 1 at lag 0. [..., 1025] lags"""
    power = torch.fft.rfft(frames, _N_FFT).abs().square()
    correlation = torch.fft.irfft(power, _N_FFT)[..., : _N_FFT // 2 + 1]
    return correlation / correlation[..., :1].clamp(min=1e-9)


def _median_of_three(pitch: Tensor) -> Tensor:
    """Of each frame [B, T] and its neighbours; the ends stand beside themselves."""
    padded = torch.cat((pitch[:, :1], pitch, pitch[:, -1:]), dim=1)
    return padded.unfold(1, 3, 1).median(-1).values
