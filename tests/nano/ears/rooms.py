"""What happens to speech on its way to an ear: speakers, rooms, noise, lines and codecs.

All of it is drawn anew for every recording of a batch and computed on the device.
"""

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.nano.log_mels import MELS
from tests.nano.sizes import SPEECH_RATE_HZ

_TAIL_SAMPLES = 6400  # of a room: 0.4 s
_RT60_S = (0.1, 0.8)
_WET_DB = (-22.0, -2.0)  # the room's tail against the direct sound
_NOISES, _NOISE_SAMPLES = 64, 1 << 18  # made once
_FLAT_BINS = 80  # about 5 Hz: no noise grows below
_ROWS_MULTIPLE = 32
_NOISE_DB = (5.0, 50.0)  # speech over noise
_BABBLE_DB = (8.0, 25.0)  # speech over another's speech
_GAIN_DB = (-26.0, 8.0)
_LINE_LOW_HZ, _LINE_HIGH_HZ = (180.0, 400.0), (2900.0, 4000.0)
_LOWPASS_HZ = (3400.0, 7500.0)
_MU = 255.0
_WARP = 0.14  # of the frequencies: other throats
_CODEC_RANGE = (0.7, 1.3)  # of the log-mels below each frame's loudest band; below is dropped
_BANDS_MASKED, _FRAMES_MASKED = 14, 22


@dataclass(frozen=True, slots=True)
class Shares:
    """How often each happens."""

    reverberation: float = 0.35
    noise: float = 0.7
    babble: float = 0.12
    telephone: float = 0.18
    lowpass: float = 0.15
    mu_law: float = 0.12
    warp: float = 0.6
    codec: float = 0.15
    mask: float = 0.6


TRAINING = Shares()


def resampled(
    bank: Tensor, starts: Tensor, lengths: Tensor, rate: Tensor, lead: Tensor, count: int
) -> Tensor:
    """Recordings played `rate` times as fast, after `lead` samples of silence.

    Args:
        bank: [total] int16, recordings end to end.
        starts, lengths: [B] of each in the bank.
        rate: [B] about 1; speed and pitch follow it.
        lead: [B] samples.
        count: samples of the result.

    Returns:
        [B, count] float32 in -1 … 1, zero outside the recording.
    """  # fmt: skip
    at = (torch.arange(count, device=bank.device) - lead[:, None]).double() * rate[:, None]
    last = lengths[:, None] - 1
    inside = (at >= 0) & (at <= last)
    base = at.floor().long()
    x = (at - base).float()
    points = []
    for offset in (-1, 0, 1, 2):
        place = torch.minimum((base + offset).clamp(min=0), last)
        points.append(bank[starts[:, None] + place].float())
    a, b, c, d = points
    # Catmull and Rom's cubic through four samples.
    cubic = b + 0.5 * x * (
        c - a + x * (2 * a - 5 * b + 4 * c - d + x * (3 * (b - c) + d - a))
    )  # fmt: skip
    return cubic * inside / 32768.0


def altered(samples: Tensor, lengths: Tensor, shares: Shares = TRAINING) -> Tensor:
    """Through a room, a noise and a line, at any loudness. [B, N] and [B] samples → [B, N]"""
    count, width = samples.shape
    on = samples.device

    def happens(share: float) -> Tensor:
        return (torch.rand(count, 1, device=on) < share).float()

    inside = torch.arange(width, device=on) < lengths[:, None]
    samples = samples * inside
    power = samples.square().sum(1, keepdim=True) / lengths[:, None] + 1e-10
    noise = _noise(count, width, on) * _ratio(power, torch.ones_like(power), _NOISE_DB)
    other = samples.roll(1, 0) * _ratio(power, power.roll(1, 0), _BABBLE_DB)
    around = noise * happens(shares.noise) + other * happens(shares.babble)
    size = 1 << (width + _TAIL_SAMPLES - 1).bit_length()
    tail = _spectra(_tails(count, on), size) * happens(shares.reverberation)
    spectra = _spectra(samples, size) * (1 + tail) + _spectra(around, size)
    spectra = spectra * _passed(*_line(count, on, happens, shares), spectra.shape[1])
    gain = 10 ** (_uniform(count, on, _GAIN_DB) / 20)
    loud = (_samples(spectra, size)[:, :width] * gain).clamp(-1, 1)
    companded = happens(shares.mu_law)
    return (loud + (mu_law(loud) - loud) * companded) * inside


def banded(samples: Tensor, low_hz: Tensor, high_hz: Tensor) -> Tensor:
    """[B, N] without what lies outside `low_hz` … `high_hz` [B, 1], with soft edges."""
    spectra = torch.fft.rfft(samples)
    passed = _passed(low_hz, high_hz, spectra.shape[1])
    return torch.fft.irfft(spectra * passed, samples.shape[1])


def mu_law(samples: Tensor) -> Tensor:
    """Samples in -1 … 1 as G.711 keeps them, in 8 bits."""
    scale = torch.log1p(torch.tensor(_MU, device=samples.device))
    pressed = samples.sign() * torch.log1p(_MU * samples.abs()) / scale
    pressed = (pressed * 127).round() / 127
    return pressed.sign() * (torch.exp(pressed.abs() * scale) - 1) / _MU


def noisy(samples: Tensor, lengths: Tensor, over_db: float) -> Tensor:
    """White noise `over_db` below the speech; for tests. [B, N], [B] → [B, N]"""
    power = samples.square().sum(1, keepdim=True) / lengths[:, None]
    return samples + torch.randn_like(samples) * (power * 10 ** (-over_db / 10)).sqrt()


def blurred(mels: Tensor, frames: Tensor, shares: Shares = TRAINING) -> Tensor:
    """Log-mels of other throats, through codecs, with bands and moments missing.

    [B, 128, T] and [B] frames → [B, 128, T]
    """
    count, _, width = mels.shape
    on = mels.device

    def happens(share: float) -> Tensor:
        return torch.rand(count, 1, 1, device=on) < share

    factor = 1 + (2 * torch.rand(count, 1, device=on) - 1) * _WARP
    mels = torch.where(happens(shares.warp), warped(mels, factor), mels)
    floor = mels.amin((1, 2), keepdim=True)
    below = mels.amax(1, keepdim=True) - _uniform(count, on, _CODEC_RANGE)[..., None]
    mels = torch.where(happens(shares.codec) & (mels < below), floor, mels)
    hidden = torch.zeros_like(mels, dtype=torch.bool)
    for _ in range(2):
        hidden |= _stretch(count, MELS, _BANDS_MASKED, on)[:, :, None]
        hidden |= _stretch(count, width, _FRAMES_MASKED, on)[:, None, :]
    inside = torch.arange(width, device=on) < frames[:, None, None]
    mels = torch.where(hidden & happens(shares.mask), mels.mean((1, 2), keepdim=True), mels)
    return mels * inside


def warped(mels: Tensor, factor: Tensor) -> Tensor:
    """Log-mels [B, 128, T] as if all frequencies were `factor` [B, 1] times as high."""
    bands = _mel_of(_hz_of(torch.arange(MELS, device=mels.device) + 0.5)[None] / factor) - 0.5
    bands = bands.clamp(0, MELS - 1)
    base = bands.floor().long().clamp(max=MELS - 2)
    share = (bands - base)[..., None]
    low, high = (
        mels.gather(1, (base + step)[..., None].expand(-1, -1, mels.shape[2])) for step in (0, 1)
    )
    return low + (high - low) * share


def _hz_of(band: Tensor) -> Tensor:
    """Slaney's scale, of which 128 bands reach 8 kHz: about 45.2 mels."""
    mel = band * (_mel(8000.0) / MELS)
    return torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * 0.06875177742094912))


def _mel_of(hz: Tensor) -> Tensor:
    mel = torch.where(
        hz < 1000, hz * 3 / 200, 15 + torch.log(hz.clamp(min=1) / 1000) / 0.06875177742094912
    )
    return mel * (MELS / _mel(8000.0))


def _mel(hz: float) -> float:
    return 15 + float(torch.log(torch.tensor(hz / 1000))) / 0.06875177742094912


def _tails(count: int, on: torch.device) -> Tensor:
    """Impulse responses of rooms without the direct sound: noise that dies away. [B, 6400]"""
    time_s = torch.arange(_TAIL_SAMPLES, device=on) / SPEECH_RATE_HZ
    rt60_s = _uniform(count, on, _RT60_S)
    tails = torch.randn(count, _TAIL_SAMPLES, device=on) * torch.exp(-6.9 * time_s / rt60_s)
    tails = tails * (time_s > 0.002)
    tails = tails / tails.square().sum(1, keepdim=True).sqrt()
    return tails * 10 ** (_uniform(count, on, _WET_DB) / 20)


def _noise(count: int, width: int, on: torch.device) -> Tensor:
    """Noise of power 1 between white and brown, steady or swelling. [B, N]"""
    bank = _noises(on)
    row = torch.randint(len(bank), (count, 1), device=on)
    first = torch.randint(bank.shape[1], (count, 1), device=on)
    noise = bank[row, (first + torch.arange(width, device=on)) % bank.shape[1]]
    swell = torch.rand(count, 1, 24, device=on)
    swell = F.interpolate(swell, width, mode="linear")[:, 0]
    steady = (torch.rand(count, 1, device=on) < 0.6).float()
    noise = noise * torch.maximum(swell, steady)
    return noise / noise.square().mean(1, keepdim=True).sqrt()


@cache
def _noises(on: torch.device) -> Tensor:
    """Noises without an end, from white to brown: the last sample goes on with the first."""
    spectra = torch.fft.rfft(torch.randn(_NOISES, _NOISE_SAMPLES, device=on))
    bins = torch.arange(spectra.shape[1], device=on).clamp(min=_FLAT_BINS).float()
    steepness = torch.linspace(0, 1, _NOISES, device=on)[:, None]
    return torch.fft.irfft(spectra * bins**-steepness, _NOISE_SAMPLES)


def _spectra(samples: Tensor, size: int) -> Tensor:
    """[B, N] → [B, size / 2 + 1], for few numbers of rows: cuFFT plans anew for each of them."""
    more = -len(samples) % _ROWS_MULTIPLE
    return torch.fft.rfft(F.pad(samples, (0, 0, 0, more)), size)[: len(samples)]


def _samples(spectra: Tensor, size: int) -> Tensor:
    more = -len(spectra) % _ROWS_MULTIPLE
    return torch.fft.irfft(F.pad(spectra, (0, 0, 0, more)), size)[: len(spectra)]


def _passed(low_hz: Tensor, high_hz: Tensor, bins: int) -> Tensor:
    """The gain of each bin, [B, bins]: 1 between two frequencies, with soft edges."""
    hz = torch.linspace(0, SPEECH_RATE_HZ / 2, bins, device=low_hz.device)
    return torch.sigmoid((hz - low_hz) / 30) * torch.sigmoid((high_hz - hz) / 60)


def _line(count: int, on: torch.device, happens, shares: Shares) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
    """The lowest and the highest frequency that pass, [B, 1] each."""
    phone, low_pass = happens(shares.telephone), happens(shares.lowpass)
    low = -1000.0 * (1 - phone) + _uniform(count, on, _LINE_LOW_HZ) * phone
    high = 20_000.0 + (_uniform(count, on, _LOWPASS_HZ) - 20_000.0) * low_pass
    line = _uniform(count, on, _LINE_HIGH_HZ)
    return low, torch.minimum(high, 20_000.0 + (line - 20_000.0) * phone)


def _ratio(power: Tensor, other: Tensor, over_db: tuple[float, float]) -> Tensor:
    below_db = _uniform(len(power), power.device, over_db)
    return (power / other * 10 ** (-below_db / 10)).sqrt()


def _uniform(count: int, on: torch.device, between: tuple[float, float]) -> Tensor:
    return torch.empty(count, 1, device=on).uniform_(*between)


def _stretch(count: int, width: int, longest: int, on: torch.device) -> Tensor:
    """A stretch of up to `longest` places in each row, true. [B, width]"""
    length = torch.rand(count, 1, device=on) * longest
    first = torch.rand(count, 1, device=on) * (width - length).clamp(min=0)
    place = torch.arange(width, device=on)
    return (place >= first) & (place < first + length)
