"""An independent ear: PocketSphinx 5 with its US English model, choosing among given sentences."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

import numpy as np
from pocketsphinx import Decoder

from serve_app.commands.word_error_rate import normalise
from tests.nano.sizes import SPEECH_RATE_HZ

_QUIET_S: Final = 0.2  # around the speech: the recogniser wants to begin and end in silence
_NOISE: Final = 2.0  # of 32768; digital silence has no logarithm
_RMS: Final = 3000.0  # of 32768, about what a close microphone gives


class SentencePicker:
    """Tells which of its sentences was said; of speech that is none of them it may say any."""

    def __init__(self, sentences: Sequence[str]) -> None:
        self._sentences = {normalise(sentence): sentence for sentence in sentences}
        # The mean of the whole utterance is known before it is decoded.
        self._decoder = Decoder(samprate=SPEECH_RATE_HZ, lm=None, loglevel="FATAL", cmn="batch")
        beginnings = _alternatives(sorted(said.split() for said in self._sentences))
        grammar = f"#JSGF V1.0; grammar said; public <said> = {beginnings};"
        self._decoder.add_jsgf_string("said", grammar)
        self._decoder.activate_search("said")

    def pick(self, samples: np.ndarray) -> str | None:
        """The sentence heard in [N] float samples at 16 kHz, in -1 … 1; None if none fits."""
        self._decoder.start_utt()
        self._decoder.process_raw(_prepared(samples).tobytes(), full_utt=True)
        self._decoder.end_utt()
        heard = self._decoder.hyp()
        return None if heard is None else self._sentences.get(heard.hypstr)


def _alternatives(sentences: list[list[str]]) -> str:
    """Sorted sentences in JSGF, common beginnings once: half the time of a plain list."""
    branches = []
    for first, group in groupby(sentences, key=lambda words: words[0]):
        rests = [words[1:] for words in group]
        longer = [words for words in rests if words]
        rest = _alternatives(longer) if longer else ""
        may_end = len(longer) < len(rests)
        branches.append(f"{first} [{rest}]" if rest and may_end else f"{first} {rest}".strip())
    return f"({' | '.join(branches)})"


def _prepared(samples: np.ndarray) -> np.ndarray:
    """Samples at a common level in a little noise, as int16."""
    rms = max(float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))), 1e-4)
    padded = np.pad(samples * (_RMS / rms), round(_QUIET_S * SPEECH_RATE_HZ))
    noise = np.random.default_rng(0).normal(0, _NOISE, len(padded))
    return np.clip(padded + noise, -32768, 32767).astype("<i2")
