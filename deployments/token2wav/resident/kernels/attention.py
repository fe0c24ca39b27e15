"""The DiT's attention over resident blocks and the frames of this step.

Queries and keys are normalised here (LayerNorm over the head, affine); the history holds keys
that are normalised already. Rows have histories and lengths of their own.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 64  # frames of a resident block, and keys of a tile
LAUNCH = [4, 3]  # warps, stages: 41 us for 32 rows on an H200; 48 with one stage, 82 with 8 warps


@triton.jit
def norm_heads(x, weight, bias):
    """LayerNorm over the last dimension of [n, D] float32."""
    D: tl.constexpr = x.shape[1]
    mean = tl.sum(x, 1) / D
    x = x - mean[:, None]
    variance = tl.sum(x * x, 1) / D
    return x * (1.0 / tl.sqrt(variance + 1e-5))[:, None] * weight[None, :] + bias[None, :]


@triton.jit
def _accumulate(q, k, v, valid, top, total, out, PRECISION: tl.constexpr):
    """One tile of keys into a running softmax (base 2)."""
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION)
    scores = tl.where(valid[None, :], scores, float("-inf"))
    new_top = tl.maximum(top, tl.max(scores, 1))
    # rows that have seen no key yet stay at -inf: exp2 of a difference of those is no number
    shift = tl.where(new_top == float("-inf"), 0.0, new_top)
    weight = tl.exp2(scores - shift[:, None])
    fade = tl.exp2(top - shift)
    total = total * fade + tl.sum(weight, 1)
    out = out * fade[:, None] + tl.dot(weight.to(v.dtype), v, input_precision=PRECISION)
    return new_top, total, out


@triton.jit(do_not_specialize=["rows", "frames", "table_stride", "splits"])
def _attend_kernel(
    qkv, norms, history, table, spans, lengths, out, partial, partial_stats,
    rows, frames, table_stride, splits, scale,
    HEADS: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    SPLIT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    pair = tl.program_id(0)  # guidance * rows + row
    head = tl.program_id(1)
    part = tl.program_id(2) % splits
    first = tl.program_id(2) // splits * BM
    guidance = pair // rows
    row = pair % rows
    WIDTH: tl.constexpr = HEADS * D
    count = tl.load(lengths + row)
    head_end = tl.load(spans + row * 3)
    tail_begin = tl.load(spans + row * 3 + 1)
    own_end = tl.load(spans + row * 3 + 2)
    d = tl.arange(0, D)
    i = first + tl.arange(0, BM)
    j = tl.arange(0, BN)

    q_norm = tl.load(norms + d)
    q_shift = tl.load(norms + D + d)
    k_norm = tl.load(norms + 2 * D + d)
    k_shift = tl.load(norms + 3 * D + d)
    new = qkv + (pair * frames).to(tl.int64) * (3 * WIDTH) + head * D
    q_at = new + i[:, None] * (3 * WIDTH) + d[None, :]
    q = tl.load(q_at, mask=(i < frames)[:, None], other=0.0)
    q = (norm_heads(q.to(tl.float32), q_norm, q_shift) * scale).to(q.dtype)

    top = tl.full([BM], float("-inf"), tl.float32)
    total = tl.zeros([BM], tl.float32)
    acc = tl.zeros([BM, D], tl.float32)

    head_tiles = (head_end + BN - 1) // BN
    tail_tile = tl.maximum(tail_begin // BN, head_tiles)
    old_tiles = head_tiles + tl.maximum((own_end + BN - 1) // BN - tail_tile, 0)
    tiles = old_tiles + (count + BN - 1) // BN
    share = (tiles + splits - 1) // splits
    begin = part * share
    end = tl.minimum(begin + share, tiles)
    for tile in range(begin, tl.minimum(end, old_tiles)):
        index = tl.where(tile < head_tiles, tile, tail_tile + tile - head_tiles)
        block = tl.load(table + row * table_stride + index).to(tl.int64)
        base = history + ((block * 2 + guidance) * HEADS + head) * (2 * BN * D)
        place = base + j[:, None] * D + d[None, :]
        address = index * BN + j
        valid = (address < head_end) | ((address >= tail_begin) & (address < own_end))
        # what is not valid may be anything: zero times it must be zero
        k = tl.load(place, mask=valid[:, None], other=0.0)
        v = tl.load(place + BN * D, mask=valid[:, None], other=0.0)
        top, total, acc = _accumulate(q, k, v, valid, top, total, acc, PRECISION)
    for tile in range(tl.maximum(begin, old_tiles), end):
        key = (tile - old_tiles) * BN + j
        valid = key < count
        new_at = new + key[:, None] * (3 * WIDTH) + d[None, :] + WIDTH
        k = tl.load(new_at, mask=valid[:, None], other=0.0)
        k = norm_heads(k.to(tl.float32), k_norm, k_shift).to(k.dtype)
        v = tl.load(new_at + WIDTH, mask=valid[:, None], other=0.0)
        top, total, acc = _accumulate(q, k, v, valid, top, total, acc, PRECISION)

    line = pair * frames + i
    inside = (i < frames)[:, None]
    if not SPLIT:
        acc = acc / tl.where(total == 0.0, 1.0, total)[:, None]  # an unused row sees no key
        to = out + line.to(tl.int64)[:, None] * WIDTH + head * D + d[None, :]
        tl.store(to, acc.to(out.dtype.element_ty), mask=inside)
    else:
        unit = (line.to(tl.int64) * HEADS + head) * splits + part
        tl.store(partial + unit[:, None] * D + d[None, :], acc, mask=inside)
        tl.store(partial_stats + unit * 2, top, mask=i < frames)
        tl.store(partial_stats + unit * 2 + 1, total, mask=i < frames)


@triton.jit
def _combine_kernel(
    partial, partial_stats, out, HEADS: tl.constexpr, D: tl.constexpr, SPLITS: tl.constexpr
):
    line = tl.program_id(0)
    unit = (line * HEADS + tl.arange(0, HEADS)[:, None]) * SPLITS + tl.arange(0, SPLITS)[None, :]
    top = tl.load(partial_stats + unit * 2)  # [HEADS, SPLITS]
    total = tl.load(partial_stats + unit * 2 + 1)
    highest = tl.max(top, 1)
    weight = tl.exp2(top - tl.where(highest == float("-inf"), 0.0, highest)[:, None])
    whole = tl.sum(weight * total, 1)
    weight = weight / tl.where(whole == 0.0, 1.0, whole)[:, None]
    d = tl.arange(0, D)
    parts = tl.load(partial + unit[:, :, None] * D + d[None, None, :])
    result = tl.sum(parts * weight[:, :, None], 1)
    to = out + line * HEADS * D + tl.arange(0, HEADS)[:, None] * D + d[None, :]
    tl.store(to, result.to(out.dtype.element_ty))


def precision_of(dtype: torch.dtype) -> str:
    """How `tl.dot` multiplies operands of this type: float32 as three tf32 products, near exact."""
    return "tf32x3" if dtype == torch.float32 else "tf32"


def splits_for(pairs: int, heads: int) -> int:
    """Programs that share one query tile's keys, so that a small batch fills the GPU too."""
    splits = 1
    while splits < 8 and pairs * heads * splits < 128:
        splits *= 2
    return splits


def attend(
    qkv: Tensor,
    norms: Tensor,
    history: Tensor,
    table: Tensor,
    spans: Tensor,
    lengths: Tensor,
    out: Tensor,
    partial: Tensor | None,
) -> None:
    """Attend from every row's new frames to its history and to its new frames.

    Args:
        qkv: [2 * rows * frames, 3 * heads * D] queries, keys and values before their norms;
            rows with condition come before rows without.
        norms: [4, D] float32: weight and bias of the queries' norm, then of the keys'.
        history: [blocks, 2, heads, 2, BLOCK, D] one layer's keys and values at one Euler step.
        table: [rows, n] int32 block ids of each row's address space.
        spans: [rows, 3] int32: valid addresses are those below the first, and those from the
            second up to the third.
        lengths: [rows] int32 new frames of each row that count.
        out: [2 * rows * frames, heads * D].
        partial: scratch of at least `partial_size` float32 elements; None with one split.
    """
    rows, heads, head_dim = len(lengths), history.shape[2], history.shape[5]
    frames = len(qkv) // (2 * rows)
    splits = 1 if partial is None else splits_for(2 * rows, heads)
    tile = min(64, triton.next_power_of_2(max(16, frames)))
    stats_at = 2 * rows * frames * heads * splits * head_dim
    scratch = out if partial is None else partial
    _attend_kernel[(2 * rows, heads, triton.cdiv(frames, tile) * splits)](
        qkv, norms, history, table, spans, lengths, out,
        scratch, scratch if partial is None else scratch[stats_at:],
        rows, frames, table.stride(0), splits, head_dim**-0.5 * 1.4426950408889634,
        HEADS=heads, D=head_dim, BM=tile, BN=history.shape[4], SPLIT=splits > 1,
        PRECISION=precision_of(qkv.dtype), num_warps=LAUNCH[0], num_stages=LAUNCH[1],
    )  # fmt: skip
    if partial is not None:
        combine(partial, out, heads, head_dim, splits)


def combine(partial: Tensor, out: Tensor, heads: int, head_dim: int, splits: int) -> None:
    """Put the parts of every query together. `out` is [lines, heads * head_dim]."""
    stats_at = len(out) * heads * splits * head_dim
    _combine_kernel[(len(out),)](
        partial, partial[stats_at:], out, HEADS=heads, D=head_dim, SPLITS=splits, num_warps=4
    )


def partial_size(pairs: int, frames: int, heads: int, head_dim: int) -> int:
    """Elements of the scratch that an attention of these sizes needs; 0 if it needs none."""
    splits = splits_for(pairs, heads)
    return 0 if splits == 1 else pairs * frames * heads * splits * (head_dim + 2)
