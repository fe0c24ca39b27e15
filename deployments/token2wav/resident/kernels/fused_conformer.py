"""The conformer encoder between its matrix products, and its attention by relative position."""

import triton
import triton.language as tl
from torch import Tensor

from deployments.token2wav.resident.kernels.attention import (
    BLOCK,
    combine,
    precision_of,
    splits_for,
)
from deployments.token2wav.resident.kernels.fused_dit import norm_channels, store_taps

_WARPS = 2


@triton.jit
def _relative_tile(
    by_content, by_place, k, v, table, distance, heads_width, d, valid, top, total, acc, scale,
    BM: tl.constexpr, BN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One tile of keys into a running softmax. `distance` is of the first query and last key."""
    WINDOW: tl.constexpr = 2 * BN  # holds the BM + BN - 1 distances of a tile
    window = tl.arange(0, WINDOW)
    encoded = tl.load(table + (distance + window)[:, None] * heads_width + d[None, :])
    offsets = tl.dot(by_place, tl.trans(encoded), input_precision=PRECISION)  # [BM, WINDOW]
    column = tl.arange(0, BM)[:, None] - tl.arange(0, BN)[None, :] + BN - 1
    scores = tl.dot(by_content, tl.trans(k), input_precision=PRECISION)
    scores = (scores + tl.gather(offsets, column, 1)) * scale
    scores = tl.where(valid[None, :], scores, float("-inf"))
    new_top = tl.maximum(top, tl.max(scores, 1))
    shift = tl.where(new_top == float("-inf"), 0.0, new_top)
    weight = tl.exp2(scores - shift[:, None])
    fade = tl.exp2(top - shift)
    total = total * fade + tl.sum(weight, 1)
    acc = acc * fade[:, None] + tl.dot(weight.to(v.dtype), v, input_precision=PRECISION)
    return new_top, total, acc


@triton.jit(do_not_specialize=["frames", "table_stride", "origin", "splits"])
def _relative_kernel(
    qkv, biases, positions, history, table, spans, lengths, out, partial, partial_stats,
    frames, table_stride, origin, splits, scale,
    HEADS: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    SPLIT: tl.constexpr, RATE: tl.constexpr, FRAMES_PER_LENGTH: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    head = tl.program_id(1)
    part = tl.program_id(2) % splits
    first = tl.program_id(2) // splits * BM
    WIDTH: tl.constexpr = HEADS * D
    count = tl.load(lengths + row) * RATE // FRAMES_PER_LENGTH
    prompt = tl.load(spans + row * 3) * RATE
    own_begin = tl.load(spans + row * 3 + 1) * RATE
    own_end = tl.load(spans + row * 3 + 2) * RATE
    past = prompt + own_end - own_begin
    d = tl.arange(0, D)
    i = first + tl.arange(0, BM)
    j = tl.arange(0, BN)
    new = qkv + (row * frames).to(tl.int64) * (3 * WIDTH) + head * D
    query_at = new + i[:, None] * (3 * WIDTH) + d[None, :]
    q = tl.load(query_at, mask=(i < frames)[:, None], other=0.0).to(tl.float32)
    by_content = (q + tl.load(biases + head * D + d)[None, :]).to(qkv.dtype.element_ty)
    by_place = (q + tl.load(biases + WIDTH + head * D + d)[None, :]).to(qkv.dtype.element_ty)
    encodings = positions + head * D
    # the distance of this tile's first query to the key at place 0, as a row of the table
    far = origin + past + first - (BN - 1)

    top = tl.full([BM], float("-inf"), tl.float32)
    total = tl.zeros([BM], tl.float32)
    acc = tl.zeros([BM, D], tl.float32)
    prompt_tiles = (prompt + BN - 1) // BN
    own_tile = own_begin // BN
    old_tiles = prompt_tiles + (own_end + BN - 1) // BN - own_tile
    tiles = old_tiles + (count + BN - 1) // BN
    share = (tiles + splits - 1) // splits
    begin = part * share
    end = tl.minimum(begin + share, tiles)
    for tile in range(begin, tl.minimum(end, old_tiles)):
        index = tl.where(tile < prompt_tiles, tile, own_tile + tile - prompt_tiles)
        place = tl.where(tile < prompt_tiles, tile * BN, prompt + (tile - prompt_tiles) * BN)
        block = tl.load(table + row * table_stride + index // RATE).to(tl.int64)
        base = history + (block * HEADS + head) * (2 * RATE * BN * D)
        at = base + ((index % RATE) * BN + j)[:, None] * D + d[None, :]
        address = index * BN + j
        valid = (address < prompt) | ((address >= own_begin) & (address < own_end))
        k = tl.load(at, mask=valid[:, None], other=0.0)
        v = tl.load(at + RATE * BN * D, mask=valid[:, None], other=0.0)
        top, total, acc = _relative_tile(
            by_content, by_place, k, v, encodings, far - place, WIDTH, d, valid,
            top, total, acc, scale, BM, BN, PRECISION,
        )  # fmt: skip
    for tile in range(tl.maximum(begin, old_tiles), end):
        new_place = (tile - old_tiles) * BN
        key = new_place + j
        valid = key < count
        new_at = new + key[:, None] * (3 * WIDTH) + d[None, :] + WIDTH
        k = tl.load(new_at, mask=valid[:, None], other=0.0)
        v = tl.load(new_at + WIDTH, mask=valid[:, None], other=0.0)
        top, total, acc = _relative_tile(
            by_content, by_place, k, v, encodings, far - past - new_place, WIDTH, d, valid,
            top, total, acc, scale, BM, BN, PRECISION,
        )  # fmt: skip
    line = (row * frames + i).to(tl.int64)
    inside = (i < frames)[:, None]
    if not SPLIT:
        acc = acc / tl.where(total == 0.0, 1.0, total)[:, None]  # an unused row sees no key
        to = out + line[:, None] * WIDTH + head * D + d[None, :]
        tl.store(to, acc.to(out.dtype.element_ty), mask=inside)
    else:
        unit = (line * HEADS + head) * splits + part
        tl.store(partial + unit[:, None] * D + d[None, :], acc, mask=inside)
        tl.store(partial_stats + unit * 2, top, mask=i < frames)
        tl.store(partial_stats + unit * 2 + 1, total, mask=i < frames)


@triton.jit(do_not_specialize=["tokens_stride", "count"])
def _embed_kernel(
    tokens, table, x, taps, tokens_stride, count, C: tl.constexpr, TAPS: tl.constexpr
):
    line = tl.program_id(0)
    c = tl.arange(0, C)
    ids = tokens + line // count * tokens_stride + line % count
    for tap in tl.static_range(TAPS):
        token = tl.load(ids + tap)
        value = tl.load(table + token * C + c, mask=(token >= 0) & (c < C), other=0.0)
        tl.store(taps + (line * TAPS + tap) * C + c, value.to(taps.dtype.element_ty))
        if tap == 0:
            tl.store(x + line * C + c, value)


@triton.jit(do_not_specialize=["frames", "factor"])
def _leaky_taps_kernel(y, taps, past, lengths, slots, frames, factor, C: tl.constexpr):
    line = tl.program_id(0)
    row = line // frames
    c = tl.arange(0, C)
    value = tl.load(y + line.to(tl.int64) * C + c).to(tl.float32)
    value = tl.where(value < 0, value * 0.01, value)
    count = tl.load(lengths + row) // factor
    read = tl.load(slots + row * 2)
    write = tl.load(slots + row * 2 + 1)
    store_taps(value, taps, past, line, line % frames, frames, count, read, write, C)


@triton.jit(do_not_specialize=["frames", "factor"])
def _sum_taps_kernel(x, update, taps, past, lengths, slots, frames, factor, C: tl.constexpr):
    line = tl.program_id(0)
    row = line // frames
    at = line.to(tl.int64) * C + tl.arange(0, C)
    value = tl.load(x + at) + tl.load(update + at).to(tl.float32)
    count = tl.load(lengths + row) // factor
    read = tl.load(slots + row * 2)
    write = tl.load(slots + row * 2 + 1)
    store_taps(value, taps, past, line, line % frames, frames, count, read, write, C)


@triton.jit
def _sum_norm_kernel(x, update, weight, bias, h, C: tl.constexpr, EPS: tl.constexpr):
    c = tl.arange(0, C)
    at = tl.program_id(0).to(tl.int64) * C + c
    value = tl.load(x + at) + tl.load(update + at).to(tl.float32)
    tl.store(x + at, value)
    value = norm_channels(value, C, EPS) * tl.load(weight + c) + tl.load(bias + c)
    tl.store(h + at, value.to(h.dtype.element_ty))


@triton.jit(do_not_specialize=["frames"])
def _sum_norm_keep_kernel(
    x, update, weight, bias, h, qkv, history, lengths, places, frames,
    C: tl.constexpr, HEADS: tl.constexpr, D: tl.constexpr, BN: tl.constexpr,
    RATE: tl.constexpr, FRAMES_PER_LENGTH: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    line = tl.program_id(0)
    row = line // frames
    frame = line % frames
    c = tl.arange(0, C)
    at = line.to(tl.int64) * C + c
    value = tl.load(x + at) + tl.load(update + at).to(tl.float32)
    tl.store(x + at, value)
    value = norm_channels(value, C, EPS) * tl.load(weight + c) + tl.load(bias + c)
    tl.store(h + at, value.to(h.dtype.element_ty))
    count = tl.load(lengths + row) * RATE // FRAMES_PER_LENGTH
    place = tl.load(places + row * (frames // RATE) + frame // RATE)
    if (frame < count) & (place >= 0):
        head = tl.arange(0, HEADS)[:, None]
        d = tl.arange(0, D)[None, :]
        new = qkv + line.to(tl.int64) * (3 * HEADS * D) + head * D + d
        k = tl.load(new + HEADS * D)
        v = tl.load(new + 2 * HEADS * D)
        unit = (place // BN).to(tl.int64) * HEADS + head
        inner = (place % BN) * RATE + frame % RATE
        to = history + unit * (2 * RATE * BN * D) + inner * D + d
        tl.store(to, k)
        tl.store(to + RATE * BN * D, v)


@triton.jit
def _embed_norm_kernel(y, weight, bias, scale, x, next_weight, next_bias, h, C: tl.constexpr):
    c = tl.arange(0, C)
    at = tl.program_id(0).to(tl.int64) * C + c
    value = norm_channels(tl.load(y + at).to(tl.float32), C, 1e-5)
    value = (value * tl.load(weight + c) + tl.load(bias + c)) * scale
    tl.store(x + at, value)
    value = norm_channels(value, C, 1e-12) * tl.load(next_weight + c) + tl.load(next_bias + c)
    tl.store(h + at, value.to(h.dtype.element_ty))


def attend_relative(
    qkv: Tensor, biases: Tensor, positions: Tensor, origin: int, history: Tensor, table: Tensor,
    spans: Tensor, lengths: Tensor, out: Tensor, partial: Tensor | None, *,
    frames_per_token: int,
) -> None:  # fmt: skip
    """Attend from every row's new frames to its history and to its new frames.

    The layers before the upsampling work at one frame a token, those after at more: the history's
    shape says at how many. Spans are in tokens, lengths in mel frames.

    Args:
        qkv: [rows * frames, 3 * heads * D].
        biases: [2, heads * D] float32 for content and for position.
        positions: [n, heads * D] encodings of relative positions; row `origin` is of 0.
        history: [blocks, heads, 2, rate * BLOCK, D] one layer's keys and values.
        table, spans: [rows, n], [rows, 3] as in `attention.attend`; the head is the prompt.
        out: [rows * frames, heads * D].
        partial: scratch of `attention.partial_size` elements; None with one split.
    """
    rows, heads, head_dim = len(lengths), history.shape[1], history.shape[4]
    frames = len(qkv) // rows
    tile = 32 if frames <= 32 else 64
    splits = 1 if partial is None else splits_for(rows, heads)
    scratch = out if partial is None else partial
    stats_at = 0 if partial is None else rows * frames * heads * splits * head_dim
    _relative_kernel[(rows, heads, triton.cdiv(frames, tile) * splits)](
        qkv, biases, positions, history, table, spans, lengths, out, scratch, scratch[stats_at:],
        frames, table.stride(0), origin, splits, head_dim**-0.5 * 1.4426950408889634,
        HEADS=heads, D=head_dim, BM=tile, BN=BLOCK, SPLIT=splits > 1,
        RATE=history.shape[3] // BLOCK,
        FRAMES_PER_LENGTH=frames_per_token, PRECISION=precision_of(qkv.dtype),
        num_warps=4, num_stages=2,
    )  # fmt: skip
    if partial is not None:
        combine(partial, out, heads, head_dim, splits)


def embed(tokens: Tensor, table: Tensor, x: Tensor, taps: Tensor) -> None:
    """Embedded tokens x [rows * n, C] and convolution rows [rows * n, k, C] that look ahead.

    `tokens` is [rows, n + k - 1]; a negative one stands for zeros.
    """
    rows, count = len(tokens), len(x) // len(tokens)
    width = x.shape[1]
    _embed_kernel[(rows * count,)](
        tokens, table, x, taps, tokens.stride(0), count,
        C=width, TAPS=taps.shape[1] // width, num_warps=_WARPS,
    )  # fmt: skip


def leaky_taps(
    y: Tensor, taps: Tensor, past: Tensor, lengths: Tensor, slots: Tensor, frames_per_token: int
) -> None:
    """Leaky ReLU of y [rows * n, C] into convolution rows [rows * n, 3, C]."""
    _leaky_taps_kernel[(len(y),)](
        y, taps, past, lengths, slots, len(y) // len(lengths), frames_per_token,
        C=y.shape[1], num_warps=_WARPS,
    )  # fmt: skip


def sum_taps(
    x: Tensor, update: Tensor, taps: Tensor, past: Tensor, lengths: Tensor, slots: Tensor,
    frames_per_token: int,
) -> None:  # fmt: skip
    """x + update into convolution rows."""
    _sum_taps_kernel[(len(x),)](
        x, update, taps, past, lengths, slots, len(x) // len(lengths), frames_per_token,
        C=x.shape[1], num_warps=_WARPS,
    )  # fmt: skip


def sum_norm(
    x: Tensor, update: Tensor, norm: tuple[Tensor, Tensor], h: Tensor, epsilon: float
) -> None:
    """x += update; h = LayerNorm(x). All [lines, C]."""
    _sum_norm_kernel[(len(x),)](x, update, *norm, h, C=x.shape[1], EPS=epsilon, num_warps=_WARPS)


def sum_norm_keep(
    x: Tensor, update: Tensor, norm: tuple[Tensor, Tensor], h: Tensor, qkv: Tensor,
    history: Tensor, lengths: Tensor, places: Tensor, *, frames_per_token: int, epsilon: float,
) -> None:  # fmt: skip
    """As `sum_norm`; and keep this layer's keys and values at `places` [rows, tokens]."""
    _sum_norm_keep_kernel[(len(x),)](
        x, update, *norm, h, qkv, history, lengths, places, len(x) // len(lengths),
        C=x.shape[1], HEADS=history.shape[1], D=history.shape[4], BN=BLOCK,
        RATE=history.shape[3] // BLOCK, FRAMES_PER_LENGTH=frames_per_token, EPS=epsilon,
        num_warps=_WARPS,
    )  # fmt: skip


def embed_norm(
    y: Tensor, norm: tuple[Tensor, Tensor], scale: float, x: Tensor,
    following: tuple[Tensor, Tensor], h: Tensor,
) -> None:  # fmt: skip
    """x = scale * LayerNorm(y); h = the following LayerNorm of x. All [lines, C]."""
    _embed_norm_kernel[(len(y),)](y, *norm, scale, x, *following, h, C=y.shape[1], num_warps=_WARPS)
