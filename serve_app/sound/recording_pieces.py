"""A recording of any length -> pieces to transcribe, each cut in silence. Streaming, 16 kHz."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from serve_app.sound.voice_activity import (
    FRAME_SAMPLES,
    OUTSIDE_SAMPLES,
    RATE_HZ,
    SileroModel,
    SileroState,
    SpeechRule,
    SpeechState,
    find_edges,
    tighten,
)

LEAST_FRAMES = 3  # 96 ms; the shortest words take twice as long, clicks are over before
BETWEEN_SENTENCES = SpeechRule(silence_ms=400)
AROUND_SAMPLES = 3 * RATE_HZ // 10  # 300 ms on either side of the speech tell how loud silence is


@dataclass(frozen=True, slots=True)
class Cutting:
    """How a recording is cut."""

    rule: SpeechRule = BETWEEN_SENTENCES

    padding_ms: int = 300
    """Of the silence around the speech that a piece keeps, as far as the next speech allows."""

    longest_s: float = 25.0
    """Of a piece; speech without such a pause is cut at its longest pause, or where it is softest.
    The audio encoder takes 25 s at once, and with its transcript the piece needs 1 100 tokens of
    the model's context."""

    @property
    def padding_samples(self) -> int:
        return self.padding_ms * RATE_HZ // 1000

    @property
    def longest_frames(self) -> int:
        around = 2 * (self.padding_samples + OUTSIDE_SAMPLES)
        return int(self.longest_s * RATE_HZ - around) // FRAME_SAMPLES


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Some speech between two pauses."""

    samples: np.ndarray  # [n] float32, 16 kHz, with silence around the speech
    start_s: float  # of the speech itself, in the recording
    end_s: float
    speech_probability: float  # the mean of its frames


class _Cut(NamedTuple):
    """A place within speech, in frames: it ends before `end` and goes on with `start`."""

    end: int
    at: int
    start: int


class PieceCutter:
    """Cuts one recording while it is read; holds no more than one piece of it."""

    def __init__(self, model: SileroModel, cutting: Cutting) -> None:
        self._model, self._cutting = model, cutting
        self._model_state, self._speech = SileroState(), SpeechState()
        self._held = np.empty(0, np.float32)
        self._first_frame = 0  # of those that are held
        self._probabilities = np.empty(0, np.float32)  # of the frames that are held
        self._start: int | None = None  # the frame with which the speech at hand began
        self._cut_at = 0  # the sample with which the next piece may begin
        self._length = 0  # samples so far

    def push(self, samples: np.ndarray) -> list[Piece]:
        """Take the next samples, [n] float32; the pieces that are complete."""
        self._length += len(samples)
        self._held = np.concatenate((self._held, samples))
        seen = self._speech.frames - self._first_frame
        whole = len(self._held) // FRAME_SAMPLES
        new = self._held[seen * FRAME_SAMPLES : whole * FRAME_SAMPLES]
        return self._find(new)

    def finish(self) -> list[Piece]:
        """The last pieces. Nothing may be pushed afterwards."""
        rest = self._held[(self._speech.frames - self._first_frame) * FRAME_SAMPLES :]
        pieces = self._find(np.pad(rest, (0, -len(rest) % FRAME_SAMPLES)))
        if self._start is not None:
            pieces += self._end(self._spoken_to, self._length)
        return pieces

    @property
    def _spoken_to(self) -> int:
        """The frame behind the last one that is not silent, while speech goes on."""
        silent_from = self._speech.quiet_since
        return self._speech.frames if silent_from is None else silent_from

    def _find(self, samples: np.ndarray) -> list[Piece]:
        """The pieces that the next frames complete."""
        new, self._model_state = self._model.probabilities(samples, self._model_state)
        self._probabilities = np.concatenate((self._probabilities, new))
        edges, self._speech = find_edges(new.tolist(), self._speech, self._cutting.rule)
        pieces: list[Piece] = []
        for edge in edges:
            if edge.kind == "end":
                known = edge.frame + self._cutting.rule.silence_frames
                pieces += self._end(edge.frame, known * FRAME_SAMPLES)
            else:
                self._start = edge.frame
        pieces += self._cut_long(self._spoken_to)
        self._forget()
        return pieces

    def _end(self, end: int, known: int) -> list[Piece]:
        """The speech at hand ends before the frame `end`; up to the sample `known` none follows."""
        pieces = self._cut_long(end)
        pieces += self._piece(end, min(known, self._length))
        self._start = None
        return pieces

    def _cut_long(self, end: int) -> list[Piece]:
        """Cut the speech at hand until no more of it than one piece is left before `end`."""
        pieces: list[Piece] = []
        while self._start is not None and end - self._start > self._cutting.longest_frames:
            cut = self._place_to_cut(self._start)
            pieces += self._piece(cut.end, cut.at * FRAME_SAMPLES)
            self._start = cut.start
        return pieces

    def _place_to_cut(self, start: int) -> _Cut:
        """The longest pause in the latter two thirds of a piece, or else its softest frame."""
        longest = self._cutting.longest_frames
        first, behind = start + longest // 3, start + longest
        here = slice(first - self._first_frame, behind - self._first_frame)
        runs = _runs(self._probabilities[here] < self._cutting.rule.quiet_below)
        if runs:
            begin, end = max(runs, key=lambda run: run[1] - run[0])
            return _Cut(first + begin, first + (begin + end) // 2, first + end)
        frames = self._held[here.start * FRAME_SAMPLES : here.stop * FRAME_SAMPLES]
        loudness = np.square(frames.reshape(-1, FRAME_SAMPLES)).mean(axis=1)
        softest = first + int(loudness.argmin())
        return _Cut(softest, softest, softest)

    def _piece(self, end: int, limit: int) -> list[Piece]:
        """The piece of the speech at hand up to frame `end`, which sample `limit` may not pass."""
        start = self._start
        if start is None or end - start < LEAST_FRAMES:
            return []
        cut = self._cutting
        origin = self._first_frame * FRAME_SAMPLES
        begin_at, end_at = start * FRAME_SAMPLES, min(end * FRAME_SAMPLES, limit)
        low = max(begin_at - AROUND_SAMPLES, self._cut_at, origin)
        high = min(end_at + AROUND_SAMPLES, limit)
        around = self._held[low - origin : high - origin]
        speech_at, speech_to = tighten(around, begin_at - low, end_at - low)
        heard_at = max(min(low + speech_at, begin_at) - cut.padding_samples, self._cut_at, origin)
        self._cut_at = min(max(low + speech_to, end_at) + cut.padding_samples, limit)
        frames = slice(start - self._first_frame, end - self._first_frame)
        return [
            Piece(
                samples=self._held[heard_at - origin : self._cut_at - origin].copy(),
                start_s=(low + speech_at) / RATE_HZ,
                end_s=(low + speech_to) / RATE_HZ,
                speech_probability=float(self._probabilities[frames].mean()),
            )
        ]

    def _forget(self) -> None:
        """Drop what belongs to no piece to come."""
        speech_from = self._speech.frames if self._start is None else self._start
        around = (self._cutting.padding_samples + AROUND_SAMPLES) // FRAME_SAMPLES + 1
        dropped = speech_from - around - self._first_frame
        if dropped > 0:
            self._held = self._held[dropped * FRAME_SAMPLES :].copy()
            self._probabilities = self._probabilities[dropped:]
            self._first_frame += dropped


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Where consecutive flags are set: each run's first index and the one behind it."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
