"""The vocoder's way in and out: mels, the source's spectrum, the inverse transform, PCM.

Rows have lengths of their own, as in `convolution`.
"""

import triton
import triton.language as tl
from torch import Tensor

from deployments.token2wav.resident.kernels.convolution import row_length

PAD = 8  # positions of silence before an excitation; a strided convolution reads 7 of them
SPECTRA = 64  # positions of a program of `analyse` or `invert`
EMITTED = 1024  # samples that one program of the last kernel makes
EXCITATION_CHANNELS = 32  # of which 18 are used: rows of a product begin at 16 bytes


@triton.jit(do_not_specialize=["capacity_in", "capacity_out"])
def _gather_kernel(
    mel, past, out, next_past, lengths, held, slots, capacity_in, capacity_out,
    M: tl.constexpr, MP: tl.constexpr, KEPT: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(1)
    frame = tl.program_id(0)
    m = tl.arange(0, MP)
    before = tl.load(held + row)
    length = row_length(lengths, held, row, 1, 0)
    old = past + (tl.load(slots + row * 2) * KEPT + frame) * M + m
    new = mel + (row * capacity_in + frame - before) * M + m
    value = tl.load(old, mask=(m < M) & (frame < before) & (frame < length), other=0.0)
    value += tl.load(new, mask=(m < M) & (frame >= before) & (frame < length), other=0.0)
    tl.store(out + (row * capacity_out + frame) * M + m, value, mask=m < M)
    kept = frame - tl.maximum(length - KEPT, 0)
    if (kept >= 0) & (frame < length):
        to = next_past + (tl.load(slots + row * 2 + 1) * KEPT + kept) * M + m
        tl.store(to, value, mask=m < M)


@triton.jit(do_not_specialize=["samples", "capacity"])
def _analyse_kernel(
    source, basis, out, lengths, held, samples, capacity,
    SAMPLES_PER_FRAME: tl.constexpr, N: tl.constexpr, HOP: tl.constexpr,
    CHANNELS: tl.constexpr, BT: tl.constexpr, FRONT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(1)
    place = tl.program_id(0) * BT + tl.arange(0, BT)
    j = place - FRONT
    c = tl.arange(0, CHANNELS)
    k = tl.arange(0, N)
    length = row_length(lengths, held, row, SAMPLES_PER_FRAME, 0)
    n = tl.abs(j[:, None] * HOP + k[None, :] - N // 2)
    n = tl.where(n >= length, 2 * (length - 1) - n, n)  # mirrored at the row's own end
    valid = (j >= 0) & (j * HOP <= length) & (length > 0)
    wave = tl.load(
        source + row.to(tl.int64) * samples + n, mask=valid[:, None] & (n >= 0), other=0.0
    )
    spectrum = tl.dot(
        wave, tl.load(basis + k[:, None] * CHANNELS + c[None, :]), input_precision=PRECISION
    )
    to = out + (row.to(tl.int64) * capacity + place[:, None]) * CHANNELS + c[None, :]
    tl.store(to, spectrum.to(out.dtype.element_ty), mask=(place < capacity)[:, None])


@triton.jit(do_not_specialize=["capacity"])
def _invert_kernel(
    logits, real_basis, imaginary_basis, out, lengths, held, capacity,
    BINS: tl.constexpr, RATE: tl.constexpr, N: tl.constexpr, BT: tl.constexpr,
    LIMIT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(1)
    j = tl.program_id(0) * BT + tl.arange(0, BT)
    k = tl.arange(0, N)
    inside = j < row_length(lengths, held, row, RATE, 1)
    at = logits + (row.to(tl.int64) * capacity + j[:, None]) * (2 * BINS) + k[None, :]
    mask = inside[:, None] & (k < BINS)[None, :]
    magnitude = tl.exp(tl.load(at, mask=mask, other=0.0))
    magnitude = tl.where(mask, tl.minimum(magnitude, LIMIT), 0.0)
    phase = tl.sin(tl.load(at + BINS, mask=mask, other=0.0))
    basis_at = k[:, None] * N + k[None, :]
    frame = tl.dot(
        magnitude * tl.cos(phase), tl.load(real_basis + basis_at), input_precision=PRECISION
    )
    frame += tl.dot(
        magnitude * tl.sin(phase), tl.load(imaginary_basis + basis_at), input_precision=PRECISION
    )
    to = out + (row.to(tl.int64) * capacity + j[:, None]) * N + k[None, :]
    tl.store(to, frame, mask=inside[:, None])


@triton.jit(do_not_specialize=["capacity", "samples"])
def _emit_kernel(
    frames, window, source, sound, pcm, broken, past, next_past, next_source,
    lengths, held, slots, capacity, samples,
    SAMPLES_PER_FRAME: tl.constexpr, N: tl.constexpr, HOP: tl.constexpr,
    KEPT: tl.constexpr, LIMIT: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(1)
    part = tl.program_id(0)
    n = part * BT + tl.arange(0, BT)
    length = row_length(lengths, held, row, SAMPLES_PER_FRAME, 0)
    inside = n < length
    place = n + N // 2
    value = tl.zeros([BT], tl.float32)
    weight = tl.zeros([BT], tl.float32)
    for back in tl.static_range(N // HOP):
        j = place // HOP - back
        offset = place - j * HOP
        seen = inside & (j >= 0) & (j * HOP <= length)
        at = frames + (row.to(tl.int64) * capacity + j) * N + offset
        value += tl.load(at, mask=seen, other=0.0)
        shape = tl.load(window + offset, mask=seen, other=0.0)
        weight += shape * shape
    value = value / tl.where(inside, weight, 1.0)
    # before the limits, which may make a number of what is none; NaN is not below anything
    bad = tl.where(inside & ~(tl.abs(value) < float("inf")), 1, 0)
    tl.store(broken + row * tl.num_programs(0) + part, tl.max(bad, 0).to(broken.dtype.element_ty))
    value = tl.minimum(tl.maximum(value, -LIMIT), LIMIT)
    overlap = tl.load(held + row) * SAMPLES_PER_FRAME
    fading = inside & (n < overlap)
    old = tl.load(past + tl.load(slots + row * 2) * KEPT + n, mask=fading, other=0.0)
    # Hamming's window of twice the overlap: its first half fades in, its second out
    turn = 6.283185307179586 / (2.0 * tl.maximum(overlap, 1).to(tl.float32) - 1.0)
    rising = 0.54 - 0.46 * tl.cos(turn * n.to(tl.float32))
    falling = 0.54 - 0.46 * tl.cos(turn * (n + overlap).to(tl.float32))
    value = tl.where(fading, value * rising + old * falling, value)
    at = row.to(tl.int64) * samples + n
    tl.store(sound + at, value, mask=inside)
    whole = tl.minimum(tl.maximum(value, -1.0), 1.0) * 32767.0
    tl.store(pcm + at, whole.to(tl.int32).to(tl.int16), mask=inside)
    kept = n - tl.maximum(length - KEPT, 0)
    keep = inside & (kept >= 0)
    slot = tl.load(slots + row * 2 + 1) * KEPT
    tl.store(next_past + slot + kept, value, mask=keep)
    tl.store(next_source + slot + kept, tl.load(source + at, mask=keep), mask=keep)


def gather_mel(
    mel: Tensor, past: Tensor, out: Tensor, lengths: Tensor, held: Tensor, slots: Tensor
) -> None:
    """Held frames and new ones into out [rows, capacity, M]; the last are kept in `past`.

    `past` is [slots, kept, M], read and written at different slots.
    """
    rows, capacity, mels = out.shape
    _gather_kernel[(capacity, rows)](
        mel, past, out, past, lengths, held, slots, mel.shape[1], capacity,
        M=mels, MP=triton.next_power_of_2(mels), KEPT=past.shape[1], num_warps=1,
    )  # fmt: skip


def analyse(
    source: Tensor, basis: Tensor, out: Tensor, lengths: Tensor, held: Tensor, *,
    samples_per_frame: int, hop: int,
) -> None:  # fmt: skip
    """The centred STFT of source [rows, samples] into out [rows, PAD + n, channels].

    `basis` [window, channels] holds window and transform; positions outside a row are zero.
    """
    rows, capacity, channels = out.shape
    _analyse_kernel[(triton.cdiv(capacity, SPECTRA), rows)](
        source, basis, out, lengths, held, source.shape[1], capacity,
        SAMPLES_PER_FRAME=samples_per_frame, N=len(basis), HOP=hop, CHANNELS=channels,
        BT=SPECTRA, FRONT=PAD, PRECISION="ieee", num_warps=4,
    )  # fmt: skip


def invert(
    logits: Tensor, bases: tuple[Tensor, Tensor], out: Tensor, lengths: Tensor, held: Tensor, *,
    rate: int, limit: float,
) -> None:  # fmt: skip
    """Log magnitudes and phases [rows, n, 2 * bins] into windowed frames [rows, n, window]."""
    rows, capacity, width = out.shape
    _invert_kernel[(triton.cdiv(capacity, SPECTRA), rows)](
        logits, *bases, out, lengths, held, capacity,
        BINS=logits.shape[2] // 2, RATE=rate, N=width, BT=SPECTRA, LIMIT=limit,
        PRECISION="ieee", num_warps=4,
    )  # fmt: skip


def emit(
    frames: Tensor, window: Tensor, source: Tensor, sound: Tensor, pcm: Tensor, broken: Tensor,
    past: Tensor, past_source: Tensor, lengths: Tensor, held: Tensor, slots: Tensor, *,
    samples_per_frame: int, hop: int, limit: float,
) -> None:  # fmt: skip
    """Overlap-add, cross-fade with what was held back, PCM16, and hold the new end back.

    Args:
        frames: [rows, n, window] of `invert`.
        source, sound, pcm: [rows, samples] float32, float32, int16.
        broken: [rows, parts of EMITTED samples] int16, 1 where a part has a sample that is not
            finite; PCM holds no trace of it.
        past, past_source: [slots, kept] read and written at different slots.
    """
    rows, samples = sound.shape
    _emit_kernel[(triton.cdiv(samples, EMITTED), rows)](
        frames, window, source, sound, pcm, broken, past, past, past_source,
        lengths, held, slots, frames.shape[1], samples,
        SAMPLES_PER_FRAME=samples_per_frame, N=len(window), HOP=hop, KEPT=past.shape[1],
        LIMIT=limit, BT=EMITTED, num_warps=4,
    )  # fmt: skip
