"""The errors that the stages raise, as a tree.

    StepAudioError
    ├── RequestError            the caller can correct it
    │   ├── AudioUnreadable         not a recording that can be decoded
    │   ├── AudioTooLong            longer than the configured limit
    │   ├── ReferenceAudioUnfit     a voice recording that is too short or too long
    │   ├── VoiceUnusable           a voice recording for which a model gives no finite values
    │   ├── VoiceSampleUnfit        an uploaded voice recording that is clipped, silent…
    │   ├── UnknownVoice            a voice that is neither configured nor uploaded
    │   ├── VoiceExists             a name for an uploaded voice that is taken
    │   ├── VoiceStoreFull          one more uploaded voice than there may be
    │   ├── SpokenTurnInvalid       an `audio.id` that this server did not sign, or cannot use
    │   ├── SpokenTurnExpired       an `audio.id` whose time is over
    │   ├── SpokenTurnGone          an `audio.id` whose answer is not kept any more
    │   ├── PromptTooLong           more tokens than the model's context holds
    │   ├── SpeechTooLong           a text to speak that needs more than the context leaves
    │   ├── AnswerCut               an answer that reached its limit before its end
    │   ├── AnswerSilent            a spoken answer without a sound
    │   └── UnsupportedRequest      well-formed, but this server cannot do it
    ├── ServerFull              no room for one more request; try again later
    │   └── EveryReplicaFull        every replica of a stage has refused it
    ├── LimitReached            an API key has used what it may; try again later
    ├── NotReady                no replica is running; try again later
    ├── EngineFailed            the model's engine died or gave no answer
    │   ├── EngineLost              it is gone, and the request is not at fault
    │   │   └── ReplicaHangs            nothing was heard of its replica, or it is stuck in a step
    │   └── ThinkerLost             a spoken answer's Thinker is gone, and no other could go on
    ├── VoiceStoreFailed        the store of uploaded voices does not answer
    └── ConfigError             the server cannot start as configured

They cross processes by pickle, so each one rebuilds itself from its fields.
"""

import math
import sys
from collections.abc import Sequence
from typing import Any, Literal


class StepAudioError(Exception):
    """Base of all errors below. `param` names the request's field at fault, if one is."""

    param: str | None = None

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.__dict__.update(fields)

    def __reduce__(self) -> tuple[Any, ...]:
        names = [(c.__module__, c.__qualname__) for c in type(self).__mro__]
        bases = names[: names.index((__name__, StepAudioError.__qualname__)) + 1]
        return read_error, (bases, dict(self.__dict__))


def read_error(bases: Sequence[tuple[str, str]], fields: dict[str, Any]) -> "StepAudioError":
    """An error from its class and the bases of that, the nearest first, and its fields.

    A sender of another version may have a class that is not known here: then the error becomes one
    of the nearest base.
    """
    cls = next(known for name in bases if (known := _known_class(*name)) is not None)
    error = cls.__new__(cls)
    Exception.__init__(error, fields["message"])
    error.__dict__.update(fields)
    return error


def _known_class(module: str, name: str) -> "type[StepAudioError] | None":
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, StepAudioError) else None


class RequestError(StepAudioError):
    """The caller's request cannot be served as it is."""


class AudioUnreadable(RequestError):
    def __init__(self, reason: str, param: str | None = None) -> None:
        super().__init__(f"the audio cannot be read: {reason}", param=param)


class AudioTooLong(RequestError):
    seconds: float
    limit_s: float
    is_all: bool  # whether `seconds` is the whole length, or where decoding stopped

    def __init__(
        self, seconds: float, limit_s: float, param: str | None = None, is_all: bool = True
    ) -> None:
        length = f"{seconds:.1f} s" if is_all else f"{seconds:.1f} s or more"
        message = f"the audio lasts {length}, the limit is {limit_s:g} s"
        super().__init__(message, seconds=seconds, limit_s=limit_s, param=param, is_all=is_all)


class ReferenceAudioUnfit(RequestError):
    def __init__(self, seconds: float, min_s: float, max_s: float) -> None:
        message = f"a voice recording must last {min_s:g} to {max_s:g} s, this one {seconds:.1f} s"
        super().__init__(message, seconds=seconds, param="voice")


class VoiceUnusable(RequestError):
    def __init__(self, what: str) -> None:
        message = f"the voice recording cannot be used: its {what}"
        super().__init__(message, param="voice")


class UnknownVoice(RequestError):
    def __init__(self, name: str, known: tuple[str, ...] = ()) -> None:
        message = f"there is no voice {name!r}"
        if known:
            message += f"; known voices: {', '.join(known)}"
        super().__init__(message, name=name, param="voice")


class VoiceSampleUnfit(RequestError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"the recording cannot be a voice: {reason}", param="audio_sample")


class VoiceExists(RequestError):
    def __init__(self, name: str) -> None:
        super().__init__(f"there is a voice {name!r} already", name=name, param="name")


class VoiceStoreFull(RequestError):
    def __init__(self, limit: int) -> None:
        message = f"the server keeps {limit} uploaded voices, and has them; delete one first"
        super().__init__(message, limit=limit)


class SpokenTurnInvalid(RequestError):
    """An `audio.id` that cannot be read: damaged, forged, another caller's or another model's."""

    def __init__(self, reason: str, param: str | None = None) -> None:
        super().__init__(f"the audio.id names no spoken answer: {reason}", param=param)


class SpokenTurnExpired(RequestError):
    def __init__(self, expires_at: int, param: str | None = None) -> None:
        """`expires_at` is Unix time in seconds."""
        message = f"the spoken answer of this audio.id expired at {expires_at} (Unix time)"
        super().__init__(message, expires_at=expires_at, param=param)


class SpokenTurnGone(RequestError):
    """An `audio.id` of this server's whose answer was never finished, or is not kept any more."""

    def __init__(self, turn_id: str, param: str | None = None) -> None:
        message = f"the spoken answer {turn_id!r} is not kept here"
        super().__init__(message, turn_id=turn_id, param=param)


class PromptTooLong(RequestError):
    tokens: int
    limit: int

    def __init__(self, tokens: int, limit: int) -> None:
        message = f"the prompt needs at least {tokens} tokens, the model's context leaves {limit}"
        super().__init__(message, tokens=tokens, limit=limit)


class SpeechTooLong(RequestError):
    def __init__(self, tokens: int, limit: int) -> None:
        message = (
            f"to speak this text takes about {tokens} tokens, the model's context leaves {limit}"
        )
        super().__init__(message, tokens=tokens, limit=limit, param="input")


class AnswerCut(RequestError):
    """For answers that are whole or nothing; a chat's says `length` instead."""

    def __init__(self, tokens: int) -> None:
        message = f"the answer was cut at {tokens} tokens: its end is missing"
        super().__init__(message, tokens=tokens)


class AnswerSilent(RequestError):
    """The model ended a spoken answer before its first sound; no engine failed.

    A conversation unlike those that the model was trained on can make it do so.
    """

    def __init__(self, what: str = "this conversation") -> None:
        super().__init__(f"the model gave no audio for {what}", what=what)


class UnsupportedRequest(RequestError):
    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message, param=param)


class ServerFull(StepAudioError):
    """There is no memory for one more stream, or no time to give all of them their sound.

    `retry_after_s` is None where the stage does not know when there will be room. `replica` names
    the replica that refused; another one may have room.
    """

    retry_after_s: float | None
    reason: Literal["memory", "time"]
    replica: str = ""

    def __init__(
        self, retry_after_s: float | None = None, reason: Literal["memory", "time"] = "memory"
    ) -> None:
        message = f"the server is full: it has no {reason} for one more stream; try again later"
        super().__init__(message, retry_after_s=retry_after_s, reason=reason)


class EveryReplicaFull(ServerFull):
    """Each replica of a stage has refused the request."""


class LimitReached(StepAudioError):
    """An API key has used what it may use now. `retry_after_s`: when it may go on, in seconds."""

    retry_after_s: float

    def __init__(self, key_name: str, what: str, retry_after_s: float) -> None:
        message = f"the API key {key_name!r} may {what}; try again in {math.ceil(retry_after_s)} s"
        super().__init__(message, retry_after_s=retry_after_s)


class NotReady(StepAudioError):
    """No replica is ready yet, or none is left; the request may be sent again."""

    def __init__(self) -> None:
        super().__init__("the server is starting; try again later")


class EngineFailed(StepAudioError):
    """The engine behind a stage failed; the request may be sent again."""


class EngineLost(EngineFailed):
    """The engine behind a replica is gone; another replica can go on with its answers."""


class ReplicaHangs(EngineLost):
    """A replica that is there and does not work. `replica` is Ray Serve's unique id of it."""

    replica: str

    def __init__(self, replica: str, what: str) -> None:
        super().__init__(f"replica {replica} hangs: {what}", replica=replica)


class ThinkerLost(EngineFailed):
    """No Thinker could go on with a spoken answer; another Token2Wav would fare no better."""

    def __init__(self) -> None:
        super().__init__("the model failed to answer")


class VoiceStoreFailed(StepAudioError):
    """The store of uploaded voices does not answer; `reason` is for the log alone."""

    reason: str

    def __init__(self, reason: str) -> None:
        super().__init__(f"the voice store failed: {reason}", reason=reason)


class ConfigError(StepAudioError):
    """A configuration that cannot start: a missing file, an unknown device."""
