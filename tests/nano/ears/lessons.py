"""What the ears are trained on: recordings of shards, in batches, with what is said in them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from deployments.thinker import tasks
from deployments.thinker.vllm_plugin.lengths import (
    MEL_PADDING,
    MIN_PIECE_SAMPLES,
    mel_frames,
    num_embeddings,
)
from tests.nano.augmentation import channel
from tests.nano.corpus.shards import Shard, shards
from tests.nano.ears.rooms import Shares, altered, blurred, resampled
from tests.nano.log_mels import log_mels
from tests.nano.thinker_examples import Writer, up_to_multiple

STEADY_SHARE: Final = 0.35  # of the recordings: as fast and as high as they are
RATES: Final = (0.86, 1.17)  # of the others
LONGEST_SILENCE_S: Final = 0.7  # before what is said, and after it
CUT_CLOSE_SHARE: Final = 0.3
SAMPLES_MULTIPLE: Final = 16_000 // 4
WIDTH_MULTIPLE: Final = 16
_RATE_HZ: Final = 16_000
_STRETCH: Final = 8192  # recordings that are sorted by length together
_UNSAID: Final = frozenset(';:,.!?—…"()“” ˈˌ')


@dataclass(frozen=True)
class Lesson:
    """A batch: B recordings, what the decoder reads (L tokens a row), N tokens to be written."""

    token_ids: Tensor  # [B, L] int64
    patch: int  # where the first embedding of speech stands
    at: Tensor  # [N] places in the flattened [B, L] from which answers are predicted
    targets: Tensor  # [N]
    answered: Tensor  # [B, L] bool, the answers
    embeddings_on: Tensor  # [B] on the device
    embeddings: Tensor  # [B] on the CPU, where CTC wants its lengths
    state_counts: Tensor  # [B] on the CPU
    phonemes: Tensor  # [total] int64, of all rows
    phoneme_counts: Tensor  # [B] on the CPU
    words: Tensor  # [total] int64
    word_counts: Tensor  # [B] on the CPU
    starts: Tensor  # [B] where each answer begins


class Template:
    """How the server asks for a transcription, around the speech."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.writer = Writer(tokenizer)
        special = self.writer.special
        prompt = self.writer.prompt(tasks.transcribe(np.zeros(MIN_PIECE_SAMPLES, np.float32)))
        place = prompt.index(special.audio_patch)
        self.before = [*prompt[:place], special.audio_start]
        self.after = [special.audio_end, *prompt[place + 1 :]]

    def lesson(
        self,
        samples: np.ndarray,
        answers: Sequence[Sequence[int]],
        phonemes: Sequence[Sequence[int]],
        device: torch.device,
    ) -> Lesson:
        """A batch of recordings of so many samples; answers end with `<|EOT|>`."""
        frames = mel_frames(samples)  # type: ignore[arg-type]  # plain arithmetic, so of arrays too
        embeddings = np.asarray(num_embeddings(frames))
        lengths = np.array([len(answer) for answer in answers])
        first = len(self.before) + embeddings + len(self.after)
        width = up_to_multiple(int((first + lengths).max()), WIDTH_MULTIPLE)
        patch = self.writer.special.audio_patch
        ids = np.full((len(samples), width), patch, dtype=np.int64)
        answered = np.zeros(ids.shape, dtype=bool)
        ids[:, : len(self.before)] = self.before
        for row, (begin, answer) in enumerate(zip(first.tolist(), answers, strict=True)):
            ids[row, begin - len(self.after) : begin] = self.after
            ids[row, begin : begin + len(answer)] = answer
            answered[row, begin : begin + len(answer)] = True
        at = np.flatnonzero(answered)
        words = [answer[:-1] for answer in answers]

        def on(values: np.ndarray) -> Tensor:
            return on_device(values, device)

        return Lesson(
            token_ids=on(ids),
            patch=len(self.before),
            at=on(at - 1),
            targets=on(ids.ravel()[at]),
            answered=on(answered),
            embeddings_on=on(embeddings),
            embeddings=torch.from_numpy(embeddings),
            state_counts=torch.from_numpy(np.asarray((frames - 1) // 2 // 2)),
            phonemes=on(np.concatenate([np.asarray(p, dtype=np.int64) for p in phonemes])),
            phoneme_counts=torch.tensor([len(p) for p in phonemes]),
            words=on(np.concatenate([np.asarray(w, dtype=np.int64) for w in words])),
            word_counts=torch.tensor([len(w) for w in words]),
            starts=on(first),
        )


def on_device(values: np.ndarray, device: torch.device) -> Tensor:
    """The values there; a GPU is not waited for."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


class Recordings:
    """All shards of some folders in the memory of a device; `refresh` adds what is new."""

    def __init__(
        self, folders: Mapping[Path, float], tokenizer: Tokenizer, phonemes: Mapping[str, int],
        device: torch.device,
    ) -> None:  # fmt: skip
        """`folders`: how often each is drawn from, against the others."""
        self.template = Template(tokenizer)
        self._weights = list(folders.values())
        self._folders = list(folders)
        self._device = device
        self._unsaid = {phonemes[symbol] for symbol in _UNSAID if symbol in phonemes}
        self._seen: set[Path] = set()
        self._banks: list[Tensor] = []
        self._total = 0
        self.sentences: list[str] = []
        self.voices: list[str] = []
        self._phonemes: list[np.ndarray] = []
        self._answers: list[list[int]] = []
        self._starts: list[int] = []
        self._lengths: list[int] = []
        self._source: list[int] = []
        self.bank = torch.zeros(0, dtype=torch.int16, device=device)
        self.refresh()

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def hours(self) -> float:
        return self._total / _RATE_HZ / 3600

    def hours_by_folder(self) -> dict[str, float]:
        """How much each folder holds."""
        samples = np.bincount(self.source, self.lengths, minlength=len(self._folders))
        return {
            folder.name: round(float(count) / _RATE_HZ / 3600, 3)
            for folder, count in zip(self._folders, samples, strict=True)
        }

    def refresh(self) -> bool:
        """Load the shards that were written since; whether there were any."""
        before = self._total
        for source, folder in enumerate(self._folders):
            for path in shards(folder):
                if path not in self._seen:
                    self._seen.add(path)
                    self._add(Shard.open(path), source)
        if self._total == before:
            return False
        self.bank = torch.cat([self.bank, *self._banks])
        self._banks = []
        self.starts = np.array(self._starts)
        self.lengths = np.array(self._lengths)
        self.source = np.array(self._source)
        return True

    def draw(
        self, rows: np.ndarray, rng: np.random.Generator, shares: Shares
    ) -> tuple[Lesson, Tensor, Tensor]:
        """The lesson of some recordings, and their log-mels [B, 128, T] and frames [B]."""
        count = len(rows)
        rate = np.where(rng.random(count) < STEADY_SHARE, 1.0, rng.uniform(*RATES, count))
        silence = rng.uniform(0, LONGEST_SILENCE_S, (2, count)) * _RATE_HZ
        lead, tail = (silence * (rng.random((2, count)) >= CUT_CLOSE_SHARE)).astype(np.int64)
        lesson, samples, lengths = self._heard(rows, rate, lead, tail)
        rough = altered(samples, lengths, shares)
        tilt = channel(count, self._device)
        mels, frames = log_mels(rough, lengths, padding=MEL_PADDING, tilt=tilt)
        return lesson, blurred(mels, frames, shares), frames

    def plain(self, rows: np.ndarray) -> tuple[Lesson, Tensor, Tensor]:
        """The lesson of some recordings as they are; their samples [B, N] and lengths [B]."""
        nothing = np.zeros(len(rows), dtype=np.int64)
        return self._heard(rows, np.ones(len(rows)), nothing, nothing)

    def _heard(
        self, rows: np.ndarray, rate: np.ndarray, lead: np.ndarray, tail: np.ndarray
    ) -> tuple[Lesson, Tensor, Tensor]:
        said = (self.lengths[rows] / rate).astype(np.int64)
        total = np.maximum(lead + said + tail, MIN_PIECE_SAMPLES)
        width = up_to_multiple(int(total.max()), SAMPLES_MULTIPLE)
        table = np.stack([self.starts[rows], self.lengths[rows], lead, total])
        starts, lengths, before, whole = on_device(table, self._device)
        fast = on_device(rate, self._device)
        samples = resampled(self.bank, starts, lengths, fast, before, width)
        lesson = self.template.lesson(
            total,
            [self._answers[row] for row in rows],
            [self._phonemes[row] for row in rows],
            self._device,
        )
        return lesson, samples, whole

    def batches(self, seconds: float, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Endless batches of rows of like length, `seconds` of sound each with their padding."""
        weights = np.array(self._weights)
        while True:
            present = np.unique(self.source)
            share = weights[present] / weights[present].sum()
            chosen = rng.choice(present, size=_STRETCH, p=share)
            rows = np.empty(_STRETCH, dtype=np.int64)
            for source in present:
                here = np.flatnonzero(chosen == source)
                rows[here] = rng.choice(np.flatnonzero(self.source == source), size=len(here))
            rows = rows[np.argsort(self.lengths[rows], kind="stable")]
            longest = self.lengths[rows] / _RATE_HZ + 2 * LONGEST_SILENCE_S / 2 + 0.4
            parts, begin = [], 0
            for end in range(1, _STRETCH + 1):
                if end == _STRETCH or (end - begin + 1) * longest[end] > seconds:
                    parts.append(rows[begin:end])
                    begin = end
            for index in rng.permutation(len(parts)):
                yield parts[index]

    def _add(self, shard: Shard, source: int) -> None:
        writer = self.template.writer
        for sentence, voice, phonemes, speech in zip(
            shard.sentences, shard.voices, shard.phonemes, shard.speech, strict=True
        ):
            said = np.array([p for p in phonemes if p not in self._unsaid], dtype=np.int64)
            self.sentences.append(sentence)
            self.voices.append(voice)
            self._phonemes.append(said)
            self._answers.append(writer.written(sentence))
            self._starts.append(self._total)
            self._lengths.append(len(speech))
            self._source.append(source)
            self._total += len(speech)
        self._banks.append(torch.from_numpy(np.concatenate(shard.speech)).to(self._device))


def phoneme_ids(path: Path) -> dict[str, int]:
    """Kokoro's alphabet: symbol → id, of the file `vocab.json`."""
    ids: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    return ids
