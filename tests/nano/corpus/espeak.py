"""eSpeak NG through its C library: text in, samples out.

The library holds one voice for a whole process, so `Espeak` is made once a process. Its noise and
flutter go on from one utterance to the next: a text never sounds exactly alike twice in a process.
What is called comes from `speak_lib.h` of eSpeak NG 1.51.
"""

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from tests.nano.corpus.levels import levelled, trimmed

LIBRARY: Final = os.environ.get("NANO_ESPEAK_LIBRARY", "libespeak-ng.so.1")
# The folder that holds `espeak-ng-data`; without it the library looks where Debian puts it.
DATA: Final = os.environ.get("NANO_ESPEAK_DATA")

RATE_HZ: Final = 22_050
STANDARD_WPM: Final = 165

_AUDIO_OUTPUT_SYNCHRONOUS: Final = 2  # samples go to the callback, nothing is played
_CHARS_UTF8: Final = 1
_POS_CHARACTER: Final = 1
_PARAMETER_RATE: Final = 1
_PARAMETER_PITCH: Final = 3


@dataclass(frozen=True, slots=True)
class Speaker:
    """A voice of eSpeak and the pitch at which it speaks for nano."""

    voice: str  # language, and a variant of it
    pitch: int  # eSpeak's, 0 … 99


# Variants whose timing is alike at one rate, so that what one says is nearly aligned with what
# another says, and which an independent recogniser understands (tests/nano/recogniser.py).
SPEAKERS: Final = (
    Speaker("en-us+edward", 42),
    Speaker("en-us+f2", 57),
    Speaker("en-us", 50),
    Speaker("en-us+m1", 55),
    Speaker("en-us+m5", 55),
    Speaker("en-us+m6", 60),
    Speaker("en-us+m7", 65),
    Speaker("en-us+f3", 45),
    Speaker("en-us+f5", 62),
    Speaker("en-us+steph", 45),
)
LOW: Final = 0  # index into SPEAKERS: a low man's voice, about 93 Hz
HIGH: Final = 1  # and a high woman's, about 207 Hz; the two are shipped as prompts

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class EspeakError(RuntimeError):
    """The library is missing or refused what it was asked."""


class Espeak:
    """The library, started; `Espeak.of_this_process()`, since a process has one."""

    @classmethod
    @cache
    def of_this_process(cls) -> "Espeak":
        """The one of this process, started at the first call."""
        return cls()

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise EspeakError(f"{LIBRARY} cannot be loaded: {error}") from error
        path = None if DATA is None else DATA.encode()
        rate = self._library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, path, 0)
        if rate != RATE_HZ:
            raise EspeakError(f"espeak_Initialize gave {rate}, not {RATE_HZ} Hz; data in {DATA}")
        self._parts: list[np.ndarray] = []
        self._callback = _Callback(self._take)  # kept: the library holds only its address
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: str, rate_wpm: int, pitch: int) -> np.ndarray:
        """Samples of `text`: [N] float32 at 22.05 kHz, ends trimmed, at the common loudness.

        Raises:
            EspeakError: the voice is unknown or nothing was said.
        """
        self._checked(self._library.espeak_SetVoiceByName(voice.encode()), f"voice {voice}")
        self._checked(self._library.espeak_SetParameter(_PARAMETER_RATE, rate_wpm, 0), "rate")
        self._checked(self._library.espeak_SetParameter(_PARAMETER_PITCH, pitch, 0), "pitch")
        self._parts.clear()
        said = text.encode()
        status = self._library.espeak_Synth(
            said, ctypes.c_size_t(len(said) + 1), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None
        )
        self._checked(status, "text")
        if not self._parts:
            raise EspeakError(f"{voice} said nothing to {text!r}")
        samples = np.concatenate(self._parts).astype(np.float32) / 32768
        return levelled(trimmed(samples, RATE_HZ))

    def _take(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _: object) -> int:
        if samples and count > 0:
            self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # go on

    @staticmethod
    def _checked(status: int, what: str) -> None:
        if status != 0:
            raise EspeakError(f"eSpeak refused the {what}: status {status}")
