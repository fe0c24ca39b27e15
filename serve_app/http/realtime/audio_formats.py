"""Sound on the socket: base64 of three formats in, and out."""

from typing import Any, Protocol

import numpy as np
import pybase64
import soxr

from deployments.messages import INPUT_SAMPLE_RATE_HZ, OUTPUT_SAMPLE_RATE_HZ
from serve_app.http.realtime.refusals import INVALID_VALUE, Refused
from serve_app.http.realtime.session_types import PCM_RATE_HZ, SoundFormat
from serve_app.http.streaming import base64_of
from serve_app.sound import telephony
from serve_app.sound.telephony import Law

LAWS: dict[str, Law] = {"audio/pcmu": "pcm_mulaw", "audio/pcma": "pcm_alaw"}
FULL_SCALE = 32768.0


def bytes_of(audio: str, param: str = "audio") -> bytes:
    """The bytes of base64.

    Raises:
        Refused: it is none.
    """
    try:
        return pybase64.b64decode(audio, validate=True)
    except ValueError:
        raise Refused(INVALID_VALUE, f"{param}: it is not base64", param) from None


class SoundIn:
    """A client's stream of sound on its way to the model: any of the formats -> 16 kHz."""

    def __init__(self, form: SoundFormat) -> None:
        self._law = LAWS.get(form.type)
        self._resampler = self._new_resampler()
        self._odd = b""  # half a sample
        self._holds = False

    def push(self, data: bytes) -> np.ndarray:
        """Bytes as they came -> [N] float32 at 16 kHz that are ready; some are held back."""
        self._holds = True
        resampled: np.ndarray = self._resampler.resample_chunk(self._samples(data))
        return resampled

    def finish(self) -> np.ndarray:
        """What is held back. What is pushed afterwards is another sound."""
        nothing = np.empty(0, np.float32)
        if not self._holds:  # a new resampler takes a millisecond
            return nothing
        rest: np.ndarray = self._resampler.resample_chunk(nothing, last=True)
        self._resampler, self._odd, self._holds = self._new_resampler(), b"", False
        return rest

    def _new_resampler(self) -> Any:
        rate_hz = telephony.RATE_HZ if self._law else PCM_RATE_HZ
        return soxr.ResampleStream(rate_hz, INPUT_SAMPLE_RATE_HZ, 1, dtype="float32")

    def _samples(self, data: bytes) -> np.ndarray:
        if self._law:
            return telephony.decoded(data, self._law).astype(np.float32) / FULL_SCALE
        data = self._odd + data
        whole = len(data) - len(data) % 2
        self._odd = data[whole:]
        return np.frombuffer(data[:whole], "<i2").astype(np.float32) / FULL_SCALE


def whole_recording(audio: str, form: SoundFormat, param: str) -> np.ndarray:
    """A recording that an item brings -> [N] float32 at 16 kHz.

    Raises:
        Refused: it is no base64.
    """
    sound = SoundIn(form)
    return np.concatenate((sound.push(bytes_of(audio, param)), sound.finish()))


class SoundOut(Protocol):
    """An answer's sound on its way to the client."""

    def push(self, pcm: bytes, last: bool = False) -> bytes:
        """s16le mono 24 kHz -> bytes that can be sent."""


class PcmOut:
    """As it is made."""

    def push(self, pcm: bytes, last: bool = False) -> bytes:
        return pcm


class TelephoneOut:
    """G.711 at 8 kHz."""

    def __init__(self, law: Law) -> None:
        self._law: Law = law
        self._resampler: Any = soxr.ResampleStream(
            OUTPUT_SAMPLE_RATE_HZ, telephony.RATE_HZ, 1, dtype="int16"
        )

    def push(self, pcm: bytes, last: bool = False) -> bytes:
        samples = self._resampler.resample_chunk(np.frombuffer(pcm, "<i2"), last=last)
        return telephony.encoded(samples, self._law)


def sound_out(form: SoundFormat) -> SoundOut:
    """What codes one answer."""
    law = LAWS.get(form.type)
    return TelephoneOut(law) if law else PcmOut()


def base64_pieces(data: bytes, most_bytes: int) -> list[str]:
    """Base64 of `data` in pieces of whole samples, so that no event is too large."""
    return [base64_of(data[at : at + most_bytes]) for at in range(0, len(data), most_bytes)]
