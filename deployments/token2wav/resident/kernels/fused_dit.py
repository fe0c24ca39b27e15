"""What lies between the DiT's matrix products: residuals, norms, modulation, convolution taps.

One program a frame. The residual stream is float32; what a matrix product reads is of the
compute type. A causal convolution of kernel 3 is a product with rows `[frame-2, frame-1, frame]`,
which the producer of a frame writes in three places.
"""

import triton
import triton.language as tl
from torch import Tensor

from deployments.token2wav.resident.kernels.attention import norm_heads

_WARPS = 2  # 512 channels are 8 a thread


@triton.jit
def norm_channels(x, C: tl.constexpr, EPS: tl.constexpr):
    """LayerNorm of [C] float32 without weight and bias."""
    x = x - tl.sum(x, 0) / C
    return x * (1.0 / tl.sqrt(tl.sum(x * x, 0) / C + EPS))


@triton.jit
def store_taps(h, taps, past, line, frame, frames, count, read, write, C: tl.constexpr):
    """Write one frame to the rows that see it; the first also brings in the two before it.

    `taps` is [lines, 3, C], `past` [slots, 2, C]. `read` and `write` are slots that differ, so
    that the programs of one launch do not race.
    """
    c = tl.arange(0, C)
    value = h.to(taps.dtype.element_ty)
    at = taps + line.to(tl.int64) * (3 * C) + c
    tl.store(at + 2 * C, value)
    if frame + 1 < frames:
        tl.store(at + 4 * C, value)
    if frame + 2 < frames:
        tl.store(at + 6 * C, value)
    if frame == 0:
        older = tl.load(past + read * (2 * C) + c)
        newer = tl.load(past + read * (2 * C) + C + c)
        tl.store(at, older)
        tl.store(at + C, newer)
        tl.store(at + 3 * C, newer)
    kept = frame - (count - 2)
    if (kept >= 0) & (frame < count):
        tl.store(past + write * (2 * C) + kept * C + c, value)


@triton.jit(do_not_specialize=["rows", "frames"])
def _enter_kernel(
    noisy, context, speakers, voices, bias, x, h, shift, scale, rows, frames, C: tl.constexpr
):
    line = tl.program_id(0)
    row = line // frames % rows
    c = tl.arange(0, C)
    source = (line % (rows * frames)) * C + c
    value = tl.load(noisy + source).to(tl.float32)
    if line < rows * frames:
        voice = tl.load(voices + row)
        value += tl.load(context + source).to(tl.float32) + tl.load(speakers + voice * C + c)
    else:
        value += tl.load(bias + c)
    at = line.to(tl.int64) * C + c
    tl.store(x + at, value)
    value = norm_channels(value, C, 1e-6)
    value = value * (1.0 + tl.load(scale + c)) + tl.load(shift + c)
    tl.store(h + at, value.to(h.dtype.element_ty))


@triton.jit
def _residual_kernel(x, update, gate, h, shift, scale, C: tl.constexpr):
    c = tl.arange(0, C)
    at = tl.program_id(0).to(tl.int64) * C + c
    value = tl.load(x + at) + tl.load(gate + c) * tl.load(update + at).to(tl.float32)
    tl.store(x + at, value)
    value = norm_channels(value, C, 1e-6)
    value = value * (1.0 + tl.load(scale + c)) + tl.load(shift + c)
    tl.store(h + at, value.to(h.dtype.element_ty))


@triton.jit(do_not_specialize=["rows", "frames"])
def _residual_taps_kernel(
    x, update, gate, taps, shift, scale, past, qkv, norms, history, lengths, places, slots,
    rows, frames, past_stride,
    C: tl.constexpr, HEADS: tl.constexpr, D: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    line = tl.program_id(0)
    pair = line // frames
    frame = line % frames
    guidance = pair // rows
    row = pair % rows
    count = tl.load(lengths + row)
    c = tl.arange(0, C)
    at = line.to(tl.int64) * C + c
    value = tl.load(x + at) + tl.load(gate + c) * tl.load(update + at).to(tl.float32)
    tl.store(x + at, value)
    value = norm_channels(value, C, 1e-6)
    value = value * (1.0 + tl.load(scale + c)) + tl.load(shift + c)
    read = tl.load(slots + row * 2)
    write = tl.load(slots + row * 2 + 1)
    store_taps(
        value, taps, past + guidance * past_stride, line, frame, frames, count, read, write, C
    )
    # the attention that read this layer's history has ended: now it may be written
    place = tl.load(places + row * frames + frame)
    if (frame < count) & (place >= 0):
        head = tl.arange(0, HEADS)[:, None]
        d = tl.arange(0, D)
        new = qkv + line.to(tl.int64) * (3 * HEADS * D) + head * D + d[None, :]
        k = tl.load(new + HEADS * D)
        k = norm_heads(k.to(tl.float32), tl.load(norms + 2 * D + d), tl.load(norms + 3 * D + d)).to(
            k.dtype
        )
        v = tl.load(new + 2 * HEADS * D)
        unit = ((place // BN).to(tl.int64) * 2 + guidance) * HEADS + head
        to = history + unit * (2 * BN * D) + (place % BN) * D + d[None, :]
        tl.store(to, k)
        tl.store(to + BN * D, v)


@triton.jit(do_not_specialize=["rows", "frames"])
def _mish_taps_kernel(
    y, weight, bias, taps, past, lengths, slots, rows, frames, past_stride, C: tl.constexpr
):
    line = tl.program_id(0)
    pair = line // frames
    row = pair % rows
    c = tl.arange(0, C)
    value = tl.load(y + line.to(tl.int64) * C + c).to(tl.float32)
    value = norm_channels(value, C, 1e-5) * tl.load(weight + c) + tl.load(bias + c)
    # mish(x) = x tanh(ln(1 + e^x)); beyond 20 it is x in float32
    power = tl.exp(tl.minimum(value, 20.0))
    power = power * (power + 2.0)
    value = value * (power / (power + 2.0))
    count = tl.load(lengths + row)
    read = tl.load(slots + row * 2)
    write = tl.load(slots + row * 2 + 1)
    past = past + (pair // rows) * past_stride
    store_taps(value, taps, past, line, line % frames, frames, count, read, write, C)


@triton.jit(do_not_specialize=["frames"])
def _start_kernel(noise, offsets, x, narrow, frames, last, M: tl.constexpr, MP: tl.constexpr):
    line = tl.program_id(0)
    m = tl.arange(0, MP)
    at = tl.minimum(tl.load(offsets + line // frames) + line % frames, last)
    value = tl.load(noise + at * M + m, mask=m < M)
    tl.store(x + line * M + m, value, mask=m < M)
    tl.store(narrow + line * M + m, value.to(narrow.dtype.element_ty), mask=m < M)


@triton.jit(do_not_specialize=["lines"])
def _euler_kernel(x, narrow, flow, bias, lines, delta, guidance, M: tl.constexpr, MP: tl.constexpr):
    line = tl.program_id(0)
    m = tl.arange(0, MP)
    inside = m < M
    at = line * M + m
    given = tl.load(flow + at, mask=inside, other=0.0).to(tl.float32)
    free = tl.load(flow + lines * M + at, mask=inside, other=0.0).to(tl.float32)
    slope = (1.0 + guidance) * given - guidance * free + tl.load(bias + m, mask=inside, other=0.0)
    value = tl.load(x + at, mask=inside, other=0.0) + delta * slope
    tl.store(x + at, value, mask=inside)
    tl.store(narrow + at, value.to(narrow.dtype.element_ty), mask=inside)


def start(noise: Tensor, offsets: Tensor, x: Tensor, narrow: Tensor) -> None:
    """Begin each row at its place in the noise. `x` [rows, frames, mels], `narrow` likewise."""
    rows, frames, mels = x.shape
    _start_kernel[(rows * frames,)](
        noise, offsets, x, narrow, frames, len(noise) - 1,
        M=mels, MP=triton.next_power_of_2(mels), num_warps=1,
    )  # fmt: skip


def euler(
    x: Tensor, narrow: Tensor, flow: Tensor, bias: Tensor, delta: float, guidance: float
) -> None:
    """x += delta ((1 + guidance) with - guidance without + bias); `flow` [2 * rows * frames, M].

    Both halves of `flow` lack the same bias, so that it counts once.
    """
    lines, mels = x.shape[0] * x.shape[1], x.shape[2]
    _euler_kernel[(lines,)](
        x, narrow, flow, bias, lines, delta, guidance,
        M=mels, MP=triton.next_power_of_2(mels), num_warps=1,
    )  # fmt: skip


def enter(
    noisy: Tensor, context: Tensor, speakers: Tensor, voices: Tensor, bias: Tensor,
    x: Tensor, h: Tensor, modulation: Tensor,
) -> None:  # fmt: skip
    """Sum up the DiT's input projection and begin its first block.

    Args:
        noisy: [rows * frames, C] the noisy mel's part.
        context: [rows * frames, C] the encoder output's (and a known mel's) part.
        speakers: [voices, C] float32 each voice's part and the bias; `voices` [rows] picks.
        bias: [C] float32 all that rows without condition have.
        x, h: [2 * rows * frames, C] residual stream, and its norm, modulated.
        modulation: [2, C] float32 shift, scale.
    """
    rows = len(voices)
    width = x.shape[1]
    _enter_kernel[(len(x),)](
        noisy, context, speakers, voices, bias, x, h, modulation[0], modulation[1],
        rows, len(x) // (2 * rows), C=width, num_warps=_WARPS,
    )  # fmt: skip


def residual(x: Tensor, update: Tensor, gate: Tensor, h: Tensor, modulation: Tensor) -> None:
    """x += gate * update; h = norm(x), modulated by [2, C] shift, scale. All [lines, C]."""
    _residual_kernel[(len(x),)](
        x, update, gate, h, modulation[0], modulation[1], C=x.shape[1], num_warps=_WARPS
    )


def residual_taps(
    x: Tensor, update: Tensor, gate: Tensor, taps: Tensor, modulation: Tensor, past: Tensor,
    qkv: Tensor, norms: Tensor, history: Tensor, lengths: Tensor, places: Tensor, slots: Tensor,
) -> None:  # fmt: skip
    """As `residual`, into convolution rows; and keep this step's keys and values.

    Args:
        taps: [lines, 3, C].
        past: [2, slots, 2, C] last two frames, for guidance and slot.
        qkv, norms, history, lengths: as in `attention.attend`, which must have ended.
        places: [rows, frames] int32 where each frame goes (block * BLOCK + place); -1 nowhere.
        slots: [rows, 2] int32 slot to read and slot to write.
    """
    rows = len(lengths)
    _residual_taps_kernel[(len(x),)](
        x, update, gate, taps, modulation[0], modulation[1], past, qkv, norms, history,
        lengths, places, slots, rows, len(x) // (2 * rows), past.stride(0),
        C=x.shape[1], HEADS=history.shape[2], D=history.shape[5], BN=history.shape[4],
        num_warps=_WARPS,
    )  # fmt: skip


def mish_taps(
    y: Tensor, weight: Tensor, bias: Tensor, taps: Tensor, past: Tensor,
    lengths: Tensor, slots: Tensor,
) -> None:  # fmt: skip
    """LayerNorm and Mish of y [lines, C] into convolution rows; the rest as `residual_taps`."""
    rows = len(lengths)
    _mish_taps_kernel[(len(y),)](
        y, weight, bias, taps, past, lengths, slots, rows, len(y) // (2 * rows),
        past.stride(0), C=y.shape[1], num_warps=_WARPS,
    )  # fmt: skip
