"""HiFT: mel frames in, 24 kHz samples out (https://arxiv.org/abs/2309.09493).

A neural source filter whose last stage is an inverse STFT. The published `hift.pt` comes without
a configuration: what may vary is read from the shapes of its weights.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from deployments.token2wav.functional.source import HarmonicSource

_UPSAMPLE_RATES = (8, 5, 3)
_UPSAMPLE_KERNELS = (16, 11, 7)
_RES_KERNELS = (3, 7, 11)
_SOURCE_RES_KERNELS = (7, 7, 11)
_DILATIONS = (1, 3, 5)
N_FFT, HOP = 16, 4
_BINS = N_FFT // 2 + 1
SLOPE = 0.1
MAX_MAGNITUDE = 100.0
MAX_SAMPLE = 0.99
SAMPLES_PER_FRAME = 480  # 8 * 5 * 3 upsampling, hop 4


@dataclass(frozen=True, slots=True)
class HiftConfig:
    """Sizes of the vocoder. Defaults as published."""

    mels: int = 80
    base_channels: int = 512
    f0_channels: int = 512
    harmonics: int = 9  # the fundamental and 8 overtones

    @classmethod
    def from_state_dict(cls, weights: dict[str, Tensor]) -> "HiftConfig":
        """Sizes by the shapes of weights. Raises KeyError where one of them is missing."""
        first = _weight_of(weights, "conv_pre")
        return cls(
            mels=first.shape[1],
            base_channels=first.shape[0],
            f0_channels=_weight_of(weights, "f0_predictor.condnet.0").shape[0],
            harmonics=weights["m_source.l_linear.weight"].shape[1],
        )


def _weight_of(weights: dict[str, Tensor], layer: str) -> Tensor:
    """The direction of a weight-normalised layer, under the new or the old name."""
    new, old = f"{layer}.parametrizations.weight.original1", f"{layer}.weight_v"
    return weights[new] if new in weights else weights[old]


def _conv(channels: int, out: int, kernel: int, dilation: int = 1) -> nn.Module:
    padding = (kernel - 1) * dilation // 2
    return weight_norm(nn.Conv1d(channels, out, kernel, dilation=dilation, padding=padding))


class Snake(nn.Module):
    """x + sin²(αx) / α (https://arxiv.org/abs/2006.08195)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        alpha = self.alpha[:, None]
        return x + (1.0 / (alpha + 1e-9)) * torch.sin(x * alpha).square()


class ResBlock(nn.Module):
    """Three residual pairs of convolutions, the first of each dilated."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_conv(channels, channels, kernel, d) for d in _DILATIONS)
        self.convs2 = nn.ModuleList(_conv(channels, channels, kernel) for _ in _DILATIONS)
        self.activations1 = nn.ModuleList(Snake(channels) for _ in _DILATIONS)
        self.activations2 = nn.ModuleList(Snake(channels) for _ in _DILATIONS)

    def forward(self, x: Tensor) -> Tensor:
        pairs = zip(self.activations1, self.convs1, self.activations2, self.convs2, strict=True)
        for snake1, conv1, snake2, conv2 in pairs:
            x = conv2(snake2(conv1(snake1(x)))) + x
        return x


class F0Predictor(nn.Module):
    """Fundamental frequency of each frame, in Hz."""

    def __init__(self, mels: int, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(5):
            layers += [_conv(channels if index else mels, channels, 3), nn.ELU()]
        self.condnet = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """[B, mels, T] -> [B, T]"""
        return self.classifier(self.condnet(mel).transpose(1, 2)).squeeze(-1).abs()


class Hift(nn.Module):
    """The whole vocoder. Holds weights only."""

    def __init__(self, config: HiftConfig) -> None:
        super().__init__()
        self.config = config
        self.f0_predictor = F0Predictor(config.mels, config.f0_channels)
        self.m_source = HarmonicSource(config.harmonics, SAMPLES_PER_FRAME)
        self.conv_pre = _conv(config.mels, config.base_channels, 7)
        widths = [config.base_channels >> stage for stage in range(len(_UPSAMPLE_RATES) + 1)]
        self.ups = nn.ModuleList()
        self.source_downs = nn.ModuleList()
        self.source_resblocks = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        down = SAMPLES_PER_FRAME // HOP
        stages = zip(_UPSAMPLE_RATES, _UPSAMPLE_KERNELS, _SOURCE_RES_KERNELS, strict=True)
        for stage, (rate, kernel, source_kernel) in enumerate(stages):
            wide, narrow = widths[stage], widths[stage + 1]
            up = nn.ConvTranspose1d(wide, narrow, kernel, rate, padding=(kernel - rate) // 2)
            self.ups.append(weight_norm(up))
            down //= rate  # the source's STFT is shortened to this stage's length: 15, 3, 1
            shape = (2 * down, down, down // 2) if down > 1 else (1, 1, 0)
            self.source_downs.append(nn.Conv1d(2 * _BINS, narrow, *shape))
            self.source_resblocks.append(ResBlock(narrow, source_kernel))
            self.resblocks.extend(ResBlock(narrow, res_kernel) for res_kernel in _RES_KERNELS)
        self.conv_post = _conv(widths[-1], 2 * _BINS, 7)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    def fold_weight_norm(self) -> None:
        """Replace every normalised weight by its value; the state dict's names change with it."""
        for module in self.modules():
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight")

    def excite(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Source signal of mels [B, mels, T], noise [B, 480 T, harmonics]. [B, 1, 480 T]"""
        return self.m_source(self.f0_predictor(mel), noise)

    def decode(self, mel: Tensor, source: Tensor) -> Tensor:
        """Filter the source [B, 1, 480 T] by the mels [B, mels, T]. [B, 480 T] in -0.99 … 0.99"""
        spectrum = torch.stft(
            source.squeeze(1), N_FFT, HOP, window=self.window, return_complex=True
        )
        excitation = torch.cat((spectrum.real, spectrum.imag), dim=1)  # [B, 18, 120 T + 1]
        x = self.conv_pre(mel)
        kernels = len(_RES_KERNELS)
        for stage, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, SLOPE))
            if stage == len(self.ups) - 1:
                x = F.pad(x, (1, 0), mode="reflect")  # the STFT has one frame more
            x = x + self.source_resblocks[stage](self.source_downs[stage](excitation))
            blocks = self.resblocks[stage * kernels : (stage + 1) * kernels]
            total: Any = blocks[0](x)
            for block in blocks[1:]:
                total = total + block(x)
            x = total / kernels
        x = self.conv_post(F.leaky_relu(x))
        magnitude = x[:, :_BINS].exp().clip(max=MAX_MAGNITUDE)
        phase = x[:, _BINS:].sin()
        spectrum = torch.complex(magnitude * phase.cos(), magnitude * phase.sin())
        samples = torch.istft(spectrum, N_FFT, HOP, window=self.window)
        return samples.clamp(-MAX_SAMPLE, MAX_SAMPLE)
