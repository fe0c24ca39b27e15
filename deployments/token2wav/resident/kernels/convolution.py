"""HiFT's convolutions over rows of different lengths, channels last.

A row of `lengths` new frames and `held` old ones has `(held + lengths) * rate + extra` positions
at a stage of the vocoder. What lies after them is read as zero, which is the padding that a
convolution of the row alone would see.
"""

import triton
import triton.language as tl
from torch import Tensor

SNAKED = 16  # positions of a program of `snakes`
RAISED = 32  # positions of a program of `raise_rate`
ACTIVATIONS = {"none": 0, "snake": 1, "leaky": 2, "elu": 3}


@triton.jit
def row_length(lengths, held, row, rate, extra):
    """Positions of a row; 0 if it is not used."""
    count = tl.load(lengths + row)
    return tl.where(count > 0, (count + tl.load(held + row)) * rate + extra, 0)


@triton.jit
def _snake(x, alpha, inverse):
    """x + sin²(alpha x) * inverse, the sine by its series to the 11th power.

    sin² has the period pi: its argument is brought within pi/2, where the series ends at 6e-8.
    The library's sine costs half of a convolution here, for arguments that never come.
    """
    turns = x * alpha
    whole = tl.floor(turns * 0.3183098861837907 + 0.5)
    # pi in two parts, the first with so few bits that its multiples are exact
    r = (turns - whole * 3.140625) - whole * 9.67653589793e-4
    s = r * r
    wave = 1.0 / 362880.0 - s * (1.0 / 39916800.0)
    wave = -1.0 / 5040.0 + s * wave
    wave = 1.0 / 120.0 + s * wave
    wave = r + r * s * (-1.0 / 6.0 + s * wave)
    return x + wave * wave * inverse


@triton.jit(do_not_specialize=["capacity", "rate", "extra", "dilation", "taps"])
def _conv_kernel(
    x, weight, bias, lengths, held, residual, total, y, activated, alpha,
    capacity, rate, extra, dilation, taps, slope, share,
    CIN: tl.constexpr, COUT: tl.constexpr,
    ADD_RESIDUAL: tl.constexpr, ADD_TOTAL: tl.constexpr, KEEP: tl.constexpr,
    ACTIVATION: tl.constexpr,
    BT: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(2)
    first = tl.program_id(0) * BT
    length = row_length(lengths, held, row, rate, extra)
    if first < length:
        t = first + tl.arange(0, BT)
        n = tl.program_id(1) * BN + tl.arange(0, BN)
        c = tl.arange(0, BK)
        source = x + row.to(tl.int64) * capacity * CIN
        acc = tl.zeros([BT, BN], tl.float32)
        CHUNKS: tl.constexpr = (CIN + BK - 1) // BK
        for step in range(taps * CHUNKS):
            tap = step // CHUNKS
            channel = (step % CHUNKS) * BK + c
            at = t + (tap - taps // 2) * dilation
            seen = (at >= 0) & (at < length)
            a = tl.load(
                source + at[:, None] * CIN + channel[None, :],
                mask=seen[:, None] & (channel < CIN)[None, :], other=0.0,
            )  # fmt: skip
            b = tl.load(
                weight + (tap * CIN + channel)[:, None] * COUT + n[None, :],
                mask=(channel < CIN)[:, None] & (n < COUT)[None, :], other=0.0,
            )  # fmt: skip
            acc = tl.dot(a, b, acc, input_precision=PRECISION)
        acc += tl.load(bias + n, mask=n < COUT, other=0.0)[None, :]
        to = row.to(tl.int64) * capacity * COUT + t[:, None] * COUT + n[None, :]
        inside = (t < length)[:, None] & (n < COUT)[None, :]
        if ADD_RESIDUAL:
            acc += tl.load(residual + to, mask=inside, other=0.0).to(tl.float32)
        if ADD_TOTAL:
            acc += tl.load(total + to, mask=inside, other=0.0).to(tl.float32)
        if KEEP:
            tl.store(y + to, acc.to(y.dtype.element_ty), mask=inside)
        if ACTIVATION == 1:
            speed = tl.load(alpha + n, mask=n < COUT, other=1.0)
            acc = _snake(acc, speed[None, :], (1.0 / (speed + 1e-9))[None, :])
        if ACTIVATION == 2:
            acc = acc * share
            acc = tl.where(acc < 0, acc * slope, acc)
        if ACTIVATION == 3:
            acc = tl.where(acc < 0, tl.exp(tl.minimum(acc, 0.0)) - 1.0, acc)
        if ACTIVATION != 0:
            tl.store(activated + to, acc.to(activated.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["capacity", "rate", "extra", "size"])
def _snake_kernel(
    x, alpha, out, lengths, held, capacity, rate, extra, size, C: tl.constexpr, BT: tl.constexpr
):
    row = tl.program_id(1)
    copy = tl.program_id(2)
    t = tl.program_id(0) * BT + tl.arange(0, BT)
    c = tl.arange(0, C)
    length = row_length(lengths, held, row, rate, extra)
    inside = (t < length)[:, None] & (c < C)[None, :]
    at = row.to(tl.int64) * capacity * C + t[:, None] * C + c[None, :]
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    speed = tl.load(alpha + copy * C + c)
    value = _snake(value, speed[None, :], (1.0 / (speed + 1e-9))[None, :])
    tl.store(out + copy.to(tl.int64) * size + at, value.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["capacity_in", "capacity_out", "rate_in"])
def _raise_kernel(
    products, bias, out, lengths, held, capacity_in, capacity_out, rate_in,
    C: tl.constexpr, TAPS: tl.constexpr, STRIDE: tl.constexpr, REFLECT: tl.constexpr,
    BT: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(1)
    o = tl.program_id(0) * BT + tl.arange(0, BT)
    c = tl.arange(0, C)
    length = row_length(lengths, held, row, rate_in, 0)
    if REFLECT:
        n = tl.where(o == 0, 1, o - 1)
        inside = (o < length * STRIDE + 1) & (length > 0)
    else:
        n = o
        inside = o < length * STRIDE
    n = n + (TAPS - STRIDE) // 2
    acc = tl.zeros([BT, C], tl.float32) + tl.load(bias + c)[None, :]
    base = products + row.to(tl.int64) * capacity_in * TAPS * C
    for back in tl.static_range((TAPS + STRIDE - 1) // STRIDE):
        t = n // STRIDE - back
        tap = n - t * STRIDE
        seen = inside & (t >= 0) & (t < length) & (tap < TAPS)
        at = base + (t * TAPS + tap)[:, None] * C + c[None, :]
        acc += tl.load(at, mask=seen[:, None], other=0.0).to(tl.float32)
    to = out + row.to(tl.int64) * capacity_out * C + o[:, None] * C + c[None, :]
    tl.store(to, acc.to(out.dtype.element_ty), mask=inside[:, None])


def tile_sizes(rows: int, channels_in: int, channels_out: int) -> dict[str, int]:
    """Tiles of a convolution: smaller ones for few rows, so that the GPU is filled."""
    wide = 64 if rows <= 4 else 128
    return {
        "BT": wide,
        "BN": min(wide, max(16, triton.next_power_of_2(channels_out))),
        "BK": min(64, max(16, triton.next_power_of_2(channels_in))),
    }


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor, lengths: Tensor, held: Tensor, *,
    rate: int, extra: int, dilation: int = 1, precision: str,
    residual: Tensor | None = None, total: Tensor | None = None, keep: Tensor | None = None,
    activation: str = "none", activated: Tensor | None = None, alpha: Tensor | None = None,
    slope: float = 0.0, share: float = 1.0,
) -> None:  # fmt: skip
    """A convolution of odd kernel, "same" padding, and what follows it.

    Args:
        x: [rows, capacity, in]; weight [taps, in, out] of x's type; bias [out] float32.
        residual, total: [rows, capacity, out], added.
        keep: receives the sum.
        activation, activated: a function of the sum, and what receives it: `snake` by `alpha`
            [out] float32, `leaky` (of the sum times `share`, with `slope`), `elu`.
    """
    rows, capacity, channels = x.shape
    taps, _, out = weight.shape
    tiles = tile_sizes(rows, channels, out)
    grid = (triton.cdiv(capacity, tiles["BT"]), triton.cdiv(out, tiles["BN"]), rows)
    _conv_kernel[grid](
        x, weight, bias, lengths, held,
        x if residual is None else residual, x if total is None else total,
        x if keep is None else keep, x if activated is None else activated,
        bias if alpha is None else alpha,
        capacity, rate, extra, dilation, taps, slope, share,
        CIN=channels, COUT=out,
        ADD_RESIDUAL=residual is not None, ADD_TOTAL=total is not None, KEEP=keep is not None,
        ACTIVATION=ACTIVATIONS[activation], PRECISION=precision, **tiles,
        num_warps=4 if tiles["BT"] == 64 else 8, num_stages=3,
    )  # fmt: skip


def snakes(
    x: Tensor, alpha: Tensor, out: Tensor, lengths: Tensor, held: Tensor, *, rate: int, extra: int
) -> None:
    """Several snakes of one signal. x [rows, capacity, C], alpha [n, C], out [n, *x.shape]."""
    rows, capacity, channels = x.shape
    _snake_kernel[(triton.cdiv(capacity, SNAKED), rows, len(alpha))](
        x, alpha, out, lengths, held, capacity, rate, extra, out.stride(0),
        C=channels, BT=SNAKED, num_warps=4,
    )  # fmt: skip


def raise_rate(
    products: Tensor, bias: Tensor, out: Tensor, lengths: Tensor, held: Tensor, *,
    rate: int, taps: int, stride: int, reflect: bool,
) -> None:  # fmt: skip
    """The sum of a transposed convolution over its products [rows, capacity, taps * C].

    `reflect` prepends position 1, mirrored before position 0, to out [rows, capacity, C].
    """
    rows, capacity, channels = out.shape
    _raise_kernel[(triton.cdiv(capacity, RAISED), rows)](
        products, bias, out, lengths, held, products.shape[1], capacity, rate,
        C=channels, TAPS=taps, STRIDE=stride, REFLECT=reflect, BT=RAISED, num_warps=4,
    )  # fmt: skip
