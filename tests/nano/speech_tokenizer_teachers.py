"""Who teaches the speech tokenizer and then goes: a reader who spells, a painter who draws."""

import torch
from torch import Tensor, nn

from tests.nano.layers import Block, ChannelNorm
from tests.nano.log_mels import MELS
from tests.nano.sizes import ACTIVE_DIGITS
from tests.nano.speech_tokenizer_network import SpeechTokenizer

HALVES = 2  # the reader spells and the painter draws two frames a code, 50 a second

_READER_WIDTH, _READER_BLOCKS, _READER_KERNEL = 192, 4, 7
_PAINTER_WIDTH, _PAINTER_BLOCKS, _PAINTER_KERNEL = 192, 3, 5
_PAINTED_BANDS = MELS // 2  # too coarse for the harmonics of a voice, fine enough for formants


class Student(nn.Module):
    """The tokenizer, and beside it the reader and the painter who teach it and then go."""

    def __init__(self, letters: int, speakers: int) -> None:
        super().__init__()
        self.tokenizer = SpeechTokenizer()
        self.reader = _Stack(
            ACTIVE_DIGITS, _READER_WIDTH, _READER_BLOCKS, _READER_KERNEL, HALVES * letters
        )
        self.speaker = nn.Embedding(speakers, _PAINTER_WIDTH)
        self.pitch = nn.Linear(2, _PAINTER_WIDTH)
        self.painter = _Stack(
            ACTIVE_DIGITS,
            _PAINTER_WIDTH,
            _PAINTER_BLOCKS,
            _PAINTER_KERNEL,
            HALVES * _PAINTED_BANDS,
        )
        # a blank sheet: the painter learns what all spectra share before it pulls at the codes
        nn.init.zeros_(self.painter.leave.weight)

    def read(self, codes: Tensor, mask: Tensor) -> Tensor:
        """Digits [B, 6, n] of -1, 0, 1 -> log-probabilities [B, 2n, letters]"""
        scores = self.reader(codes, mask).transpose(1, 2).unflatten(2, (HALVES, -1))
        return scores.flatten(1, 2).float().log_softmax(-1)

    def paint(self, codes: Tensor, mask: Tensor, speaker: Tensor, pitch: Tensor) -> Tensor:
        """Digits [B, 6, n], speakers [B], eSpeak's pitches [B] -> log-mels [B, 64, 2n]"""
        high = pitch / 50 - 1
        voice = self.speaker(speaker) + self.pitch(torch.stack((high, high.square()), -1))
        drawn = self.painter(codes, mask, voice[..., None])  # [B, 2 * 64, n]
        return drawn.unflatten(1, (_PAINTED_BANDS, HALVES)).transpose(2, 3).flatten(2)


class _Stack(nn.Module):
    """Convolutions from digits to something, under a condition for the whole recording."""

    def __init__(self, inputs: int, width: int, blocks: int, kernel: int, outputs: int) -> None:
        super().__init__()
        self.enter = nn.Conv1d(inputs, width, 1)
        self.blocks = nn.ModuleList(Block(width, kernel) for _ in range(blocks))
        self.norm = ChannelNorm(width)
        self.leave = nn.Conv1d(width, outputs, 1)

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        """[B, inputs, n] -> [B, outputs, n], under [B, width, 1]"""
        x = self.enter(x) if condition is None else self.enter(x) + condition
        for block in self.blocks:
            x = block(x, mask)
        return self.leave(self.norm(x))
