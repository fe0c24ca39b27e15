"""What the speech tokenizer is trained on: recordings, who else says the same, and the letters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tests.nano.corpus.store import Bank, Corpus
from tests.nano.speech_tokenizer_network import CODE_SAMPLES, code_counts

_PAIRED_WITHIN = 0.03  # of their lengths: so far two recordings count as aligned


class Alphabet:
    """The letters and digits of sentences, the apostrophe and the space; 0 is CTC's blank."""

    def __init__(self, sentences: Sequence[str]) -> None:
        used = {letter for sentence in sentences for letter in sentence.lower()}
        self.letters = sorted(c for c in used if c.isalnum() or c in " '")
        self._numbers = {letter: index + 1 for index, letter in enumerate(self.letters)}

    def __len__(self) -> int:
        return len(self.letters) + 1

    def numbers(self, sentence: str) -> list[int]:
        """The sentence without its punctuation."""
        return [self._numbers[c] for c in sentence.lower() if c in self._numbers]


@dataclass(frozen=True, slots=True)
class Views:
    """A batch of recordings [V = 2B], of which row i + B says the same as row i.

    It is the aligned recording of another speaker or, where there is none, the same one again.
    """

    samples: Tensor  # [V, N] with N a multiple of 640
    lengths: Tensor  # [V] samples
    speaker: Tensor  # [V]
    pitch: Tensor  # [V] float, eSpeak's
    paired: Tensor  # [V] whether by two speakers
    letters: Tensor  # [V, S] padded
    code_counts: Tensor  # [V] on the CPU, where CTC wants its lengths
    letter_counts: Tensor  # [V] on the CPU

    @property
    def other(self) -> Tensor:
        """[V] the row that says the same."""
        rows = torch.arange(len(self.lengths), device=self.lengths.device)
        return rows.roll(len(rows) // 2)


class Classroom:
    """The corpus on the device, as the student sees it."""

    def __init__(self, corpus: Corpus, where: torch.device) -> None:
        self.alphabet = Alphabet(corpus.sentences)
        self.speakers = len(corpus.speakers)
        self.lengths = torch.from_numpy(np.diff(corpus.speech_starts))  # [utterances] on the CPU
        self.partner = torch.from_numpy(aligned_partners(corpus))  # [utterances] on the CPU
        self._bank: Bank = corpus.speech_bank(where)
        self._where = where
        spelled = [self.alphabet.numbers(sentence) for sentence in corpus.sentences]
        self.sentence = torch.tensor([u.sentence for u in corpus.utterances])
        self._letter_counts = torch.tensor([len(row) for row in spelled])
        rows = [torch.tensor(row, dtype=torch.long) for row in spelled]
        self._letters = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(
            where
        )  # [sentences, S]
        self._sentence = self.sentence.to(where)
        self._speaker = torch.tensor([u.speaker for u in corpus.utterances]).to(where)
        self._pitch = torch.tensor([float(u.pitch) for u in corpus.utterances]).to(where)

    def views(self, first: Tensor) -> Views:
        """Utterances `first` [B] and their partners. Nothing here waits for the device."""
        both = torch.cat((first, self.partner[first]))  # on the CPU
        longest = -(-int(self.lengths[both].max()) // CODE_SAMPLES) * CODE_SAMPLES
        letter_counts = self._letter_counts[self.sentence[both]]
        chosen = both.to(self._where, non_blocking=True)
        return Views(
            samples=self._bank.slice(chosen, torch.zeros_like(chosen), longest),
            lengths=self._bank.lengths[chosen],
            speaker=self._speaker[chosen],
            pitch=self._pitch[chosen],
            paired=(self.partner[both] != both).to(self._where, non_blocking=True),
            letters=self._letters[self._sentence[chosen], : int(letter_counts.max())],
            code_counts=torch.from_numpy(code_counts(self.lengths[both].numpy())),
            letter_counts=letter_counts,
        )


def aligned_partners(corpus: Corpus) -> np.ndarray:
    """For each utterance another speaker's of the same sentence, equally long within 3 %.

    Only standard utterances have one; the others are their own. [utterances] int64
    """
    lengths = np.diff(corpus.speech_starts)
    partners = np.arange(len(corpus.utterances))
    waiting: dict[int, int] = {}
    for index, utterance in enumerate(corpus.utterances):
        if utterance.kind != "standard":
            continue
        before = waiting.setdefault(utterance.sentence, index)
        alike = abs(lengths[before] / lengths[index] - 1) <= _PAIRED_WITHIN
        if before != index and alike and partners[before] == before:
            partners[before], partners[index] = index, before
    return partners
