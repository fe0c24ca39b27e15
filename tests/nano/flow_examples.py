"""What the flow is trained on: prompts and targets, put together from recordings.

What goes where is decided on the CPU; what it is lies on the device.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deployments.mel import mel_filterbank
from tests.nano.corpus.store import Corpus
from tests.nano.flow_rows import FRAMES, Layout
from tests.nano.sizes import FLOW, SOUND_RATE_HZ

PROMPTED_SHARE = 0.7  # of the rows have other recordings of the voice in front
LONGER_SHARE = 0.25  # of prompts and of targets are two recordings, so that long rows are known
CUT_SHARE = 0.5  # of the prompts' recordings are cut, to no less than …
SHORTEST_CUT = 25  # tokens: 1 s, the shortest prompt that is served
LONGEST_TOKENS = 250  # of a recording: 10 s; a longer one is always cut
WHOLE_SHARE = 0.25  # of the rows are not cut into chunks
CHUNK_TOKENS = (8, 25)  # smallest and largest chunk of a stream
DONOR_SHARE = 0.3  # of the targets that can have another speaker's codes do
DONOR_TOLERANCE = 0.02  # by which an aligned rendition's length may differ
PITCH_TOLERANCE = 3  # between an utterance and its prompt, in eSpeak's units
WIDTH_STEP = 32  # rows are padded to multiples of so many tokens, so that few shapes occur
SORTED_BATCHES = 32  # so many are drawn together and sorted by length, to pad little
_N_FFT, _HOP = 1920, 480
_MEL_BATCH = 4096  # tokens whose spectra are computed at once


@dataclass(frozen=True, slots=True, eq=False)
class Recordings:
    """All utterances, one behind the other, token by token. Tensors lie on the device."""

    codes: Tensor  # [total] int64
    mel: Tensor  # [total, 2, 80] float16: the two frames of each token
    embeddings: Tensor  # [utterances, 192]
    starts: np.ndarray  # [utterances + 1] int64, of the codes

    @classmethod
    def load(cls, corpus: Corpus, out: Path, where: torch.device) -> "Recordings":
        """The corpus with what the earlier parts wrote to `out`."""
        starts = np.load(out / "codes_starts.npy").astype(np.int64)
        codes = torch.from_numpy(np.load(out / "codes.npy").astype(np.int64))
        embeddings = torch.from_numpy(np.load(out / "embeddings.npy").astype(np.float32))
        mel = mel_of_codes(corpus, starts, where)
        return cls(codes.to(where), mel, embeddings.to(where), starts)

    @property
    def counts(self) -> np.ndarray:
        """[utterances] tokens of each."""
        return np.diff(self.starts)

    def utterance(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Codes [n], speaker embedding [192], mel [2n, 80] float32."""
        part = slice(int(self.starts[index]), int(self.starts[index + 1]))
        return self.codes[part], self.embeddings[index], self.mel[part].flatten(0, 1).float()


def mel_of_codes(corpus: Corpus, starts: np.ndarray, where: torch.device) -> Tensor:
    """`voice_mel_spectrogram` of every utterance, made two frames a code. [codes, 2, 80] float16

    Each frame is cut out of the flat sound by itself and reflected at its own utterance's ends, so
    that utterances of any length share a batch. Half precision is off by 0.004 at most.
    """
    mel = torch.empty(int(starts[-1]), FRAMES, FLOW.output_size, dtype=torch.float16, device=where)
    counts = np.diff(starts)
    first = 0
    while first < len(counts):
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + _MEL_BATCH)) - 1)
        begin, end = corpus.sound_starts[first], corpus.sound_starts[last]
        samples = torch.from_numpy(corpus.sound[begin:end].astype(np.int16)).to(where)
        offsets = corpus.sound_starts[first : last + 1] - begin
        owner, frame = _frames_of(counts[first:last], np.diff(offsets) // _HOP)
        cut = samples.float().div_(32768.0)[
            _frame_positions(
                torch.from_numpy(frame).to(where),
                torch.from_numpy(offsets[:-1][owner]).to(where),
                torch.from_numpy(np.diff(offsets)[owner]).to(where),
            )
        ]
        mel[int(starts[first]) : int(starts[last])] = _log_mel(cut).half().unflatten(0, (-1, 2))
        first = last
    return mel


def _frames_of(counts: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Utterance and frame number of each code's two frames; the last frame is repeated."""
    wanted = FRAMES * counts
    owner = np.repeat(np.arange(len(counts)), wanted)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(wanted) - wanted, wanted)
    return owner, np.minimum(number, frames[owner] - 1)


def _frame_positions(frame: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """Where the samples of each frame [F] lie, in an utterance of `length` from `start` on.

    Returns:
        [F, 1920]; what is before the first or past the last sample is reflected.
    """
    edge = (_N_FFT - _HOP) // 2
    at = frame[:, None] * _HOP - edge + torch.arange(_N_FFT, device=frame.device)
    at = at.abs_()
    end = length[:, None] - 1
    return torch.where(at > end, 2 * end - at, at) + start[:, None]


def _log_mel(frames: Tensor) -> Tensor:
    """[F, 1920] samples -> [F, 80], as `deployments.mel.voice_mel_spectrogram`."""
    spectrum = torch.fft.rfft(frames * torch.hann_window(_N_FFT, device=frames.device))
    magnitude = torch.sqrt(torch.view_as_real(spectrum).pow(2).sum(-1) + 1e-9)
    filters = mel_filterbank(SOUND_RATE_HZ, _N_FFT, FLOW.output_size, 8000.0).to(frames.device)
    return (magnitude @ filters.T).clamp(min=1e-5).log()


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows of prompt and target, one behind the other."""

    codes: Tensor  # [B, n] int64
    mel: Tensor  # [B, 2n, 80] float32
    embeddings: Tensor  # [B, 192] of the prompts
    known: Tensor  # [B] tokens at the front whose mel is told
    layout: Layout


class Partners:
    """Which utterances go together, as prompts and as renditions of one sentence."""

    def __init__(self, corpus: Corpus, counts: np.ndarray, prompts: np.ndarray) -> None:
        """`counts` are the utterances' tokens, `prompts` the utterances that may be prompts."""
        self._voice = np.array([1000 * u.speaker + u.pitch for u in corpus.utterances])
        self._prompts = prompts[np.argsort(self._voice[prompts], kind="stable")]
        self.donor = _donors(corpus, counts)  # [utterances], -1: none

    def prompts(self, chosen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Of each utterance [B], another of its voice; -1: none is, or it was drawn itself."""
        voice, known = self._voice[chosen], self._voice[self._prompts]
        low = np.searchsorted(known, voice - PITCH_TOLERANCE, side="left")
        high = np.searchsorted(known, voice + PITCH_TOLERANCE, side="right")
        drawn = rng.integers(low, np.maximum(high, low + 1)).clip(max=len(known) - 1)
        found = self._prompts[drawn]
        return np.where((high > low) & (found != chosen), found, -1)


def _donors(corpus: Corpus, counts: np.ndarray) -> np.ndarray:
    """Of each utterance, one of its sentence by another speaker and as long, or -1."""
    donors = np.full(len(counts), -1)
    said: dict[int, list[int]] = {}
    for index, utterance in enumerate(corpus.utterances):
        if utterance.kind == "standard":
            said.setdefault(utterance.sentence, []).append(index)
    for group in said.values():
        for one, other in zip(group, group[1:] + group[:1], strict=True):
            alike = abs(counts[one] - counts[other]) <= max(1, DONOR_TOLERANCE * counts[one])
            if corpus.utterances[one].speaker != corpus.utterances[other].speaker and alike:
                donors[one] = other
    return donors


@dataclass(frozen=True, slots=True)
class Plan:
    """What rows are made of: parts of utterances, of which the first `_PROMPTS` are the prompt."""

    utterance: np.ndarray  # [B, parts]
    offset: np.ndarray  # [B, parts] tokens of the utterance before the part
    count: np.ndarray  # [B, parts] tokens, 0: no such part
    donor: np.ndarray  # [B, parts] utterance whose codes are taken
    told: np.ndarray  # [B] utterance whose speaker embedding is given
    known: np.ndarray  # [B] tokens at the front whose mel is told
    first: np.ndarray  # [B] tokens of the first chunk

    @property
    def lengths(self) -> np.ndarray:
        """[B] tokens"""
        return self.count.sum(1)

    def rows(self, chosen: np.ndarray) -> "Plan":
        """Some of the rows."""
        return Plan(*(getattr(self, field.name)[chosen] for field in fields(self)))


_PROMPTS, _PARTS = 2, 4


class Examples:
    """Draws batches: what goes where is decided on the CPU, gathered on the device."""

    def __init__(self, recordings: Recordings, partners: Partners, seed: int) -> None:
        self._recordings = recordings
        self._partners = partners
        self._rng = np.random.default_rng(seed)

    def batches(self, utterances: np.ndarray, size: int) -> Iterator[Batch]:
        """Endless batches of `size` rows of about one length; every pass has all utterances."""
        if size > len(utterances):
            raise ValueError(f"{len(utterances)} utterances make no batch of {size}")
        while True:
            order = self._rng.permutation(utterances)[: len(utterances) // size * size]
            for begin in range(0, len(order), SORTED_BATCHES * size):
                plan = self.plan(order[begin : begin + SORTED_BATCHES * size])
                together = plan.lengths.argsort(kind="stable").reshape(-1, size)
                for chosen in self._rng.permutation(together):
                    yield self.gather(plan.rows(chosen))

    def plan(self, chosen: np.ndarray) -> Plan:
        """One row for each of the utterances [B]."""
        rng, counts, prompts = self._rng, self._recordings.counts, self._partners.prompts
        size = len(chosen)
        prompt = np.where(rng.random(size) < PROMPTED_SHARE, prompts(chosen, rng), -1)
        prompted = prompt >= 0
        longer = rng.random((2, size)) < LONGER_SHARE
        more_prompt = np.where(longer[0] & prompted, prompts(chosen, rng), -1)
        more_target = np.where(longer[1], prompts(chosen, rng), -1)
        parts = np.stack((prompt, more_prompt, chosen, more_target), axis=1)
        utterance = np.where(parts >= 0, parts, chosen[:, None])
        there = counts[utterance]
        cut = rng.integers(np.minimum(SHORTEST_CUT, there), there, endpoint=True)
        is_cut = (rng.random(parts.shape) < CUT_SHARE) & (np.arange(_PARTS) < _PROMPTS)
        count = np.where(is_cut, cut, there).clip(max=LONGEST_TOKENS) * (parts >= 0)

        donor = self._partners.donor[utterance]
        may = (donor >= 0) & (np.arange(_PARTS) >= _PROMPTS)  # a prompt's codes are its own
        lent = may & (rng.random(parts.shape) < DONOR_SHARE)

        # Without a prompt the target's own beginning takes its place, told or not.
        length = count.sum(1)
        beginning = np.maximum(4, (length * rng.uniform(0.1, 0.5, size)).astype(np.int64))
        front = np.where(prompted, count[:, :_PROMPTS].sum(1), np.minimum(beginning, length))
        return Plan(
            utterance=utterance,
            offset=rng.integers(0, there - count, endpoint=True),
            count=count,
            donor=np.where(lent, donor, utterance),
            told=np.where(prompted, prompt, chosen),
            known=front * (prompted | (rng.random(size) < 0.5)),
            first=np.where(rng.random(size) < WHOLE_SHARE, length, front),
        )

    def gather(self, plan: Plan) -> Batch:
        """What is planned, padded to a common width."""
        recordings = self._recordings
        where = recordings.codes.device
        width = -(-int(plan.lengths.max()) // WIDTH_STEP) * WIDTH_STEP
        smallest, largest = CHUNK_TOKENS
        more = (len(plan.first), width // smallest)
        sizes = self._rng.integers(smallest, largest, more, endpoint=True)

        def on_device(*columns: np.ndarray) -> Tensor:
            return torch.from_numpy(np.stack(columns).astype(np.int64)).to(where, non_blocking=True)

        counts, starts = recordings.counts, recordings.starts
        table = on_device(
            plan.count,
            plan.offset,
            starts[plan.utterance],
            counts[plan.utterance],
            starts[plan.donor],
            counts[plan.donor],
        )  # [6, B, parts]
        lengths, told, known = on_device(plan.lengths, plan.told, plan.known)
        chunks = on_device(*np.column_stack((plan.first, sizes)))  # [B, K]
        ends = table[0].cumsum(1)
        at = torch.arange(width, device=where).expand(len(ends), -1).contiguous()
        part = torch.searchsorted(ends, at, right=True).clamp_(max=_PARTS - 1)  # [B, n]
        begin = (ends - table[0]).gather(1, part)
        _, offset, start, count, donor_start, donor_count = (c.gather(1, part) for c in table)
        place = at - begin + offset  # of each token in its utterance
        # The middle of a token here is in which token of the other rendition?
        lent = (2 * place + 1) * donor_count // (2 * count)
        last = len(recordings.codes) - 1  # padding may run past the end of all
        return Batch(
            codes=recordings.codes[(donor_start + lent).clamp_(max=last)],
            mel=recordings.mel[(start + place).clamp_(max=last)].flatten(1, 2).float(),
            embeddings=recordings.embeddings[told],
            known=known,
            layout=Layout.of(chunks, lengths, width),
        )
