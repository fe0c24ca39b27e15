"""Voices that say when each of their words begins: eSpeak NG by its events, Festival by its tree.

eSpeak's library is found as in tests/nano/corpus/espeak.py. Festival is the command `festival`, or
what the variable FESTIVAL names, with the voice of Debian's package festvox-us-slt-hts, which is
made of a woman's recordings and speaks less regularly.
"""

import ctypes
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from deployments.audio_decoding.pcm import resample, to_pcm16
from deployments.messages import OUTPUT_SAMPLE_RATE_HZ
from tests.nano.corpus.espeak import RATE_HZ, Espeak

FESTIVAL = os.environ.get("FESTIVAL", "festival")
WORD, LAST = 1, 0  # types of eSpeak's events
NEAR = 25  # characters: a word of Festival that is not found so soon is written otherwise


@dataclass(frozen=True)
class Clip:
    """A text that was spoken."""

    text: str
    pcm: bytes  # s16le, mono, 24 kHz
    starts_s: dict[int, float]  # of words, by the character that each begins with


class _Event(ctypes.Structure):
    """`espeak_EVENT`."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


class EspeakWords(Espeak):
    """eSpeak, and where its words begin."""

    def say(self, text: str, voice: str, rate_wpm: int) -> Clip:
        """`text` (ASCII) with nothing cut off."""
        self._starts: dict[int, float] = {}
        self.speak(text, voice, rate_wpm, pitch=50)
        samples = np.concatenate(self._parts).astype(np.float32) / 32768
        return Clip(text, _pcm(samples, RATE_HZ), self._starts)

    def _take(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: object) -> int:
        event = ctypes.cast(events, ctypes.POINTER(_Event))  # type: ignore[arg-type]
        index = 0
        while event[index].type != LAST:
            if event[index].type == WORD:
                character = event[index].text_position - 1
                self._starts.setdefault(character, event[index].sample / RATE_HZ)
            index += 1
        return super()._take(samples, count, events)


def festival(texts: list[str], voice: str) -> list[Clip]:
    """All of them, in one run of the program."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "say.scm"
        script.write_text("\n".join([f"(voice_{voice})", *map(_saying, range(len(texts)), texts)]))
        command = [FESTIVAL, "--heap", "10000000", "-b", str(script)]
        told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        words = [part.splitlines()[1:] for part in told.stdout.split("#")[1:]]
        return [
            Clip(text, _pcm(*soundfile.read(f"{folder}/{n}.wav", dtype="float32")), _found(text, w))
            for n, (text, w) in enumerate(zip(texts, words, strict=True))
        ]


def _saying(number: int, text: str) -> str:
    """Lisp that speaks `text` into a file and prints its words."""
    return f"""
    (set! said (utt.synth (Utterance Text "{text}")))
    (format t "#{number}\\n")
    (mapcar (lambda (word) (format t "%s %f\\n" (item.name word) (item.feat word "word_start")))
      (utt.relation.items said 'Word))
    (utt.save.wave said "{number}.wav" 'riff)"""


def _found(text: str, words: list[str]) -> dict[int, float]:
    """Festival's words in the text; those that stand at the beginning of one."""
    starts_s, at = {}, 0
    for line in words:
        word, start_s = line.rsplit(" ", 1)
        found = text.lower().find(word.lower(), at)
        if 0 <= found <= at + NEAR:
            at = found + len(word)
            if re.match(r"(^|.*\s)$", text[:found]):
                starts_s[found] = float(start_s)
    return starts_s


def _pcm(samples: np.ndarray, rate_hz: int) -> bytes:
    return to_pcm16(resample(samples, rate_hz, OUTPUT_SAMPLE_RATE_HZ))
