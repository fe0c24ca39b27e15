"""HiFT over resident state: mel frames in, samples and PCM16 out, rows of any length together.

Channels stand last. Every intermediate holds as many positions as the shape allows, and a row
uses its own share of them; its end is padded with zeros, or mirrored, where the row itself ends.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployments.token2wav.functional import hift as published
from deployments.token2wav.functional import source as excitation
from deployments.token2wav.functional.hift import SAMPLES_PER_FRAME, Hift
from deployments.token2wav.functional.hift_stream import OVERLAP_FRAMES
from deployments.token2wav.resident.kernels import convolution, waves
from deployments.token2wav.resident.kernels.attention import precision_of
from deployments.token2wav.resident.memory import Take
from deployments.token2wav.resident.step_rows import VocoderRows

_HOP, _N_FFT = published.HOP, published.N_FFT
_BINS = _N_FFT // 2 + 1
_STEPS_PER_FRAME = SAMPLES_PER_FRAME // _HOP  # 120

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class _ResBlock:
    """Three pairs of convolutions: weights [taps, in, out], biases, snakes' alphas, dilations."""

    first: list[Pair]
    second: list[Pair]
    alphas: list[Pair]
    dilations: list[int]


@dataclass(frozen=True, slots=True, eq=False)
class _Stage:
    """One upsampling: its transposed convolution, the source's branch, three parallel blocks."""

    up: Pair  # [in, taps * out], bias
    taps: int
    stride: int
    rate: int  # positions a frame after it
    extra: int
    down: Pair  # [taps * channels, out] of the source's convolution
    down_taps: int
    down_stride: int
    down_pad: int
    source: _ResBlock
    blocks: list[_ResBlock]
    alphas: Tensor  # [3, C] of the blocks' first snakes


@dataclass(frozen=True, slots=True, eq=False)
class VocoderPool:
    """What every stream holds back: 8 frames, 160 ms. All float32."""

    mel: Tensor  # [slots, 8, mels]
    source: Tensor  # [slots, 3840]
    samples: Tensor  # [slots, 3840]

    @classmethod
    def allocate(cls, *, mels: int, slots: int, device: torch.device) -> "VocoderPool":
        held = OVERLAP_FRAMES * SAMPLES_PER_FRAME
        return cls(
            torch.zeros(slots, OVERLAP_FRAMES, mels, device=device),
            torch.zeros(slots, held, device=device),
            torch.zeros(slots, held, device=device),
        )


class VocoderBuffers:
    """Where one shape of a step computes; `frames` are new ones."""

    def __init__(
        self,
        model: "ResidentVocoder",
        rows: int,
        frames: int,
        take: Take,
    ) -> None:
        total, dtype, exact = frames + OVERLAP_FRAMES, model.dtype, torch.float32
        self.mel = take((rows, total, model.mels), exact)
        self.pitch = [take((rows, total, model.f0_channels), exact) for _ in range(2)]
        self.source = take((rows, total * SAMPLES_PER_FRAME), exact)
        steps = total * _STEPS_PER_FRAME + 1
        self.excitation = take((rows, steps + 2 * waves.PAD, waves.EXCITATION_CHANNELS), dtype)
        self.narrow = take((rows, total, model.mels), dtype)
        self.entry = take((rows, total, model.base_channels), dtype)
        self.stages = []
        size, channels = total, model.base_channels
        for stage in model.stages:
            products = take((rows, size, stage.taps * channels // 2), dtype)
            size, channels = total * stage.rate + stage.extra, channels // 2
            shape = (rows, size, channels)
            self.stages.append(
                {
                    "products": products,
                    "x": take(shape, dtype),
                    "branch": take(shape, dtype),
                    "total": take(shape, dtype),
                    "out": take(shape, dtype),
                    "first": take((3, *shape), dtype),
                    "work": take((2, *shape), dtype),
                }
            )
        self.logits = take((rows, steps, 2 * _BINS), exact)
        self.waves = take((rows, steps, _N_FFT), exact)
        self.sound = take((rows, total * SAMPLES_PER_FRAME), exact)
        samples = total * SAMPLES_PER_FRAME
        parts = -(-samples // waves.EMITTED)
        # PCM and what is said of it lie together: one copy brings both to the host
        self.emitted = take((rows * (samples + parts),), torch.int16)
        self.pcm = self.emitted[: rows * samples].view(rows, samples)
        self.broken = self.emitted[rows * samples :].view(rows, parts)


class ResidentVocoder:
    """HiFT's weights and constants on the GPU."""

    def __init__(self, hift: Hift, *, seed: int, device: torch.device, dtype: torch.dtype) -> None:
        """`hift` must be float32 with its weight norm folded, and is not kept.

        `dtype` is of the filter; pitch, phase and the transforms are float32 in any case.
        """
        self.dtype, self.mels = dtype, hift.config.mels
        self.base_channels, self.f0_channels = hift.config.base_channels, hift.config.f0_channels
        self.harmonics = hift.config.harmonics
        self._precision = precision_of(dtype)
        noise = excitation.SourceNoise(self.harmonics, seed=seed, device=device)
        self._noise = noise.at(0, excitation.NOISE_SAMPLES)

        def exact(tensor: Tensor) -> Tensor:
            return tensor.detach().to(device, torch.float32).contiguous()

        def cast(tensor: Tensor, to: torch.dtype = dtype) -> Tensor:
            return tensor.detach().to(device, to).contiguous()

        def conv(module: nn.Module, to: torch.dtype = dtype) -> Pair:
            return cast(module.weight.permute(2, 1, 0), to), exact(module.bias)

        def block(module: published.ResBlock) -> _ResBlock:
            snakes = zip(module.activations1, module.activations2, strict=True)
            return _ResBlock(
                [conv(one) for one in module.convs1],
                [conv(one) for one in module.convs2],
                [(exact(first.alpha), exact(second.alpha)) for first, second in snakes],
                [one.dilation[0] for one in module.convs1],
            )

        predictor = hift.f0_predictor
        self._pitch = [
            conv(layer, torch.float32) for layer in predictor.condnet if hasattr(layer, "weight")
        ]
        self._classify = (exact(predictor.classifier.weight), exact(predictor.classifier.bias))
        self._mix = (exact(hift.m_source.l_linear.weight), exact(hift.m_source.l_linear.bias))
        self._pre, self._post = conv(hift.conv_pre), conv(hift.conv_post)
        self.stages: list[_Stage] = []
        rate = 1
        for index, up in enumerate(hift.ups):
            rate *= up.stride[0]
            down = hift.source_downs[index]
            unused = waves.EXCITATION_CHANNELS - 2 * _BINS
            weight = F.pad(down.weight.permute(2, 1, 0), (0, 0, 0, unused))
            blocks = [block(one) for one in hift.resblocks[3 * index : 3 * index + 3]]
            self.stages.append(
                _Stage(
                    up=(cast(up.weight.permute(0, 2, 1).flatten(1)), exact(up.bias)),
                    taps=up.kernel_size[0],
                    stride=up.stride[0],
                    rate=rate,
                    extra=int(index == len(hift.ups) - 1),
                    down=(cast(weight.flatten(0, 1)), cast(down.bias)),
                    down_taps=down.kernel_size[0],
                    down_stride=down.stride[0],
                    down_pad=down.padding[0],
                    source=block(hift.source_resblocks[index]),
                    blocks=blocks,
                    alphas=torch.stack([one.alphas[0][0] for one in blocks]),
                )
            )
        self._window = exact(hift.window)
        self._analysis, self._synthesis = _bases(self._window)
        self._multiples = torch.arange(
            1, self.harmonics + 1, device=device, dtype=torch.float32
        )[:, None]  # fmt: skip

    @torch.inference_mode()
    def vocode(self, b: VocoderBuffers, pool: VocoderPool, rows: VocoderRows, mel: Tensor) -> None:
        """Vocode new frames mel [rows, frames, mels] float32 into `b.sound` and `b.pcm`.

        `b.broken` has a 1 for each row that holds a sample which is not finite.

        A row's first `480 * (held + length)` samples are its own; the last 8 frames of them are
        held back too, and come again, cross-faded, at the beginning of its next step.
        """
        spans = (rows.lengths, rows.held)
        waves.gather_mel(mel, pool.mel, b.mel, *spans, rows.slots)
        self._excite(b, pool, rows)
        waves.analyse(
            b.source, self._analysis, b.excitation, *spans,
            samples_per_frame=SAMPLES_PER_FRAME, hop=_HOP,
        )  # fmt: skip
        b.narrow.copy_(b.mel)
        convolution.convolve(
            b.narrow, *self._pre, *spans, rate=1, extra=0, precision=self._precision,
            activation="leaky", activated=b.entry, slope=published.SLOPE,
        )  # fmt: skip
        x = b.entry
        for index, (stage, buffers) in enumerate(zip(self.stages, b.stages, strict=True)):
            last = index == len(self.stages) - 1
            slope = 0.01 if last else published.SLOPE
            x = self._stage(stage, buffers, x, b.excitation, rows, slope)
        convolution.convolve(
            x, *self._post, *spans, rate=_STEPS_PER_FRAME, extra=1,
            precision=self._precision, keep=b.logits,
        )  # fmt: skip
        waves.invert(
            b.logits, self._synthesis, b.waves, *spans,
            rate=_STEPS_PER_FRAME, limit=published.MAX_MAGNITUDE,
        )  # fmt: skip
        waves.emit(
            b.waves, self._window, b.source, b.sound, b.pcm, b.broken, pool.samples, pool.source,
            *spans, rows.slots, samples_per_frame=SAMPLES_PER_FRAME, hop=_HOP,
            limit=published.MAX_SAMPLE,
        )  # fmt: skip

    def _excite(self, b: VocoderBuffers, pool: VocoderPool, rows: VocoderRows) -> None:
        """The source signal, as `HarmonicSource` makes it, into `b.source`."""
        spans = (rows.lengths, rows.held)
        x = b.mel
        for index, layer in enumerate(self._pitch):
            out = b.pitch[index % 2]
            convolution.convolve(
                x, *layer, *spans, rate=1, extra=0, activation="elu", activated=out,
                precision=precision_of(torch.float32),
            )  # fmt: skip
            x = out
        weight, bias = self._classify
        f0 = F.linear(x, weight, bias).squeeze(-1).abs()  # [rows, frames]
        frames = f0.shape[1]
        used = torch.arange(frames, device=f0.device) < (rows.lengths + rows.held)[:, None]
        f0 = torch.where(used, f0, 0.0)
        # no turns after a row's end: interpolation there meets the last phase, as at an edge
        turns = (f0[:, None] * self._multiples) / excitation.SAMPLE_RATE_HZ % 1
        phase = torch.cumsum(turns, dim=2) * 2 * math.pi
        scale = SAMPLES_PER_FRAME
        phase = F.interpolate(phase * scale, scale_factor=scale, mode="linear")
        pitch = f0.repeat_interleave(scale, dim=1)[:, None]
        voiced = (pitch > excitation.VOICED_ABOVE_HZ).to(pitch.dtype)
        unvoiced = excitation.SINE_AMPLITUDE / 3
        amplitude = voiced * excitation.NOISE_AMPLITUDE + (1 - voiced) * unvoiced
        at = torch.arange(frames * scale, device=f0.device)
        noise = self._noise[(rows.positions[:, None] + at) % len(self._noise)]
        sines = phase.sin() * excitation.SINE_AMPLITUDE * voiced
        mixed = sines.transpose(1, 2) + amplitude.transpose(1, 2) * noise
        weight, bias = self._mix
        source = torch.tanh(F.linear(mixed, weight, bias)).squeeze(-1)
        # the overlap's own source again: a new one would have another phase
        held = pool.source.shape[1]
        past = pool.source[rows.slots[:, 0].long()]
        known = at[:held] < rows.held[:, None] * scale
        b.source.copy_(source)
        b.source[:, :held] = torch.where(known, past, source[:, :held])

    def _stage(
        self, stage: _Stage, b: dict[str, Tensor], x: Tensor, spectrum: Tensor,
        rows: VocoderRows, slope: float,
    ) -> Tensor:  # fmt: skip
        """One upsampling of x [rows, n, C], already activated; returns the next one's input."""
        spans = (rows.lengths, rows.held)
        rate, extra = stage.rate, stage.extra
        weight, bias = stage.up
        torch.mm(x.flatten(0, 1), weight, out=b["products"].flatten(0, 1))
        convolution.raise_rate(
            b["products"], bias, b["x"], *spans, rate=rate // stage.stride,
            taps=stage.taps, stride=stage.stride, reflect=bool(extra),
        )  # fmt: skip
        count, size, _ = b["x"].shape
        width = spectrum.shape[2]
        windows = spectrum.as_strided(
            (count, size, stage.down_taps * width),
            (spectrum.stride(0), stage.down_stride * width, 1),
            spectrum.storage_offset() + (waves.PAD - stage.down_pad) * width,
        )
        weight, bias = stage.down
        torch.addmm(bias, windows.reshape(count * size, -1), weight, out=b["branch"].flatten(0, 1))
        convolution.snakes(
            b["branch"], stage.source.alphas[0][0][None], b["first"][:1], *spans,
            rate=rate, extra=extra,
        )  # fmt: skip
        self._resblock(
            stage.source, b["branch"], b["first"][0], b, rows, rate, extra,
            total=b["x"], keep=b["x"],
        )  # fmt: skip
        convolution.snakes(b["x"], stage.alphas, b["first"], *spans, rate=rate, extra=extra)
        for index, block in enumerate(stage.blocks):
            last = index == len(stage.blocks) - 1
            self._resblock(
                block, b["x"], b["first"][index], b, rows, rate, extra,
                total=b["total"] if index else None,
                keep=None if last else b["total"],
                activation="leaky" if last else "none", activated=b["out"] if last else None,
                slope=slope, share=1.0 / len(stage.blocks),
            )  # fmt: skip
        return b["out"]

    def _resblock(
        self, block: _ResBlock, x: Tensor, entering: Tensor, b: dict[str, Tensor],
        rows: VocoderRows, rate: int, extra: int, **ending: Any,
    ) -> None:  # fmt: skip
        """Three pairs; `ending` says what becomes of the last one's sum."""
        running, waved = b["branch"], b["work"]
        for pair, dilation in enumerate(block.dilations):
            convolution.convolve(
                entering, *block.first[pair], rows.lengths, rows.held,
                rate=rate, extra=extra, precision=self._precision, dilation=dilation,
                activation="snake", activated=waved[0], alpha=block.alphas[pair][1],
            )  # fmt: skip
            if pair + 1 == len(block.dilations):
                convolution.convolve(
                    waved[0], *block.second[pair], rows.lengths, rows.held,
                    rate=rate, extra=extra, precision=self._precision, residual=x, **ending,
                )  # fmt: skip
                return
            convolution.convolve(
                waved[0], *block.second[pair], rows.lengths, rows.held,
                rate=rate, extra=extra, precision=self._precision, residual=x, keep=running,
                activation="snake", activated=waved[1], alpha=block.alphas[pair + 1][0],
            )  # fmt: skip
            x, entering = running, waved[1]


def _bases(window: Tensor) -> tuple[Tensor, Pair]:
    """The STFT as one matrix [16, 32], and its inverse as two [16, 16], windows included."""
    size = len(window)
    angle = 2 * math.pi / size * torch.outer(torch.arange(size), torch.arange(_BINS)).double()
    shape = window.double().cpu()[:, None]
    analysis = torch.zeros(size, waves.EXCITATION_CHANNELS, dtype=torch.float64)
    analysis[:, :_BINS], analysis[:, _BINS : 2 * _BINS] = angle.cos() * shape, -angle.sin() * shape
    twice = torch.full((_BINS,), 2.0, dtype=torch.float64)
    twice[0] = twice[-1] = 1.0  # the first and the last bin have no mirror image
    real = torch.zeros(size, size, dtype=torch.float64)
    imaginary = torch.zeros_like(real)
    real[:_BINS] = (angle.cos() * twice / size * shape).T
    imaginary[:_BINS] = (-angle.sin() * twice / size * shape).T
    on_device = [t.float().to(window.device).contiguous() for t in (analysis, real, imaginary)]
    return on_device[0], (on_device[1], on_device[2])
