"""What was received of a stream, from which another replica goes on."""

import random
from array import array
from dataclasses import replace
from typing import Protocol, TypeVar

from deployments.chunker import ChunkSchedule
from deployments.errors import EngineFailed
from deployments.messages import (
    PartSoFar,
    SpeechDelta,
    SpeechRequest,
    SpokenSoFar,
    ThinkerDelta,
    ThinkerRequest,
    Usage,
)
from deployments.resume.retry_policy import Tries

BYTES_PER_SAMPLE = 2

Received = TypeVar("Received", ThinkerDelta, SpeechDelta, contravariant=True)


class OutOfStep(EngineFailed):
    """A delta that does not begin where the one before it ended."""

    def __init__(self, offset: int, expected: int) -> None:
        super().__init__(f"a part of the answer came at {offset} where {expected} was next")


class Progress(Protocol[Received]):
    """What was received of one stream."""

    @property
    def can_go_on(self) -> bool:
        """Whether another replica can say what comes next."""

    def note(self, delta: Received) -> None:
        """Take note of which replica answers; heartbeats say it too."""

    def accept(self, delta: Received) -> None:
        """Take note of the next delta. Raises OutOfStep where it is not the next."""

    def lose(self) -> None:
        """Take note that the replica is lost: the next request avoids it."""

    def avoid(self, replica: str) -> None:
        """Have the next request avoid a replica that did not even begin; "" is none."""


class Avoided:
    """The replicas that an answer lost; one that was lost before its first delta has no name."""

    def __init__(self, avoid: tuple[str, ...]) -> None:
        self.names = avoid
        self._answers = ""

    def note(self, delta: ThinkerDelta | SpeechDelta) -> None:
        """Take note of which replica answers."""
        self._answers = delta.replica or self._answers

    def lose(self) -> None:
        self.add(self._answers)
        self._answers = ""

    def add(self, name: str) -> None:
        if name and name not in self.names:
            self.names = (*self.names, name)


class WrittenProgress:
    """What was received of an answer of the Thinker's."""

    def __init__(self, request: ThinkerRequest) -> None:
        self._request = request
        self._chance = _chance(request)
        self._made = array("i", request.made)
        self._avoided = Avoided(request.avoid)
        self._has_all = True
        self._goes_on = bool(request.made)

    @property
    def can_go_on(self) -> bool:
        return self._has_all

    def request(self) -> ThinkerRequest:
        """What a replica is asked: to begin, or to go on."""
        self._goes_on = bool(self._made)
        made = tuple(self._made)
        avoid = self._avoided.names
        return replace(self._request, made=made, beats=True, avoid=avoid, chance=self._chance)

    def lose(self) -> None:
        self._avoided.lose()

    def avoid(self, replica: str) -> None:
        self._avoided.add(replica)

    def note(self, delta: ThinkerDelta) -> None:
        self._avoided.note(delta)

    def accept(self, delta: ThinkerDelta) -> None:
        _require_next(delta.offset, len(self._made), goes_on=self._goes_on)
        self._made.extend(delta.made)
        shows = delta.text or delta.reasoning or delta.audio_tokens or delta.tool_calls
        if shows and not delta.made:
            self._has_all = False


class SpokenProgress:
    """What was received of a spoken answer, in one part or several."""

    def __init__(self, request: SpeechRequest, tries: Tries) -> None:
        self._request = _with_chances(request)
        self._tries = tries
        self._avoided = Avoided(request.avoid)
        self._schedule: ChunkSchedule | None = None
        self._parts = [(_ids(), _ids())]  # made, audio tokens
        self._usages: list[Usage | None] = [None]  # up to the end of each part, once it is known
        self._samples = 0
        self._has_all = True
        self._goes_on = False

    @property
    def can_go_on(self) -> bool:
        return self._has_all and (self._schedule is not None or not self._has_begun)

    @property
    def _has_begun(self) -> bool:
        return bool(self._samples or self._parts[0][0])

    def request(self) -> SpeechRequest:
        """What a replica is asked: to begin, or to go on."""
        self._goes_on = self._schedule is not None and self._has_begun
        avoid = self._avoided.names
        asked = replace(self._request, tries=self._tries.left, beats=True, avoid=avoid)
        if self._schedule is None or not self._has_begun:
            return asked
        parts = tuple(PartSoFar(tuple(made), tuple(audio)) for made, audio in self._parts)
        usage = self._usages[-2] if len(parts) > 1 else None
        so_far = SpokenSoFar(self._schedule, parts, self._samples, usage)
        return replace(asked, so_far=so_far)

    def lose(self) -> None:
        self._avoided.lose()

    def avoid(self, replica: str) -> None:
        self._avoided.add(replica)

    def note(self, delta: SpeechDelta) -> None:
        self._avoided.note(delta)

    def accept(self, delta: SpeechDelta) -> None:
        _require_next(delta.offset, self._samples, goes_on=self._goes_on)
        self._schedule = self._schedule or delta.schedule
        self._samples += len(delta.pcm) // BYTES_PER_SAMPLE
        while len(self._parts) <= delta.part:
            self._parts.append((_ids(), _ids()))
            self._usages.append(None)
        made, audio = self._parts[delta.part]
        if delta.made_offset is not None:
            _require_next(delta.made_offset, len(made), goes_on=False)
        made.extend(delta.made)
        audio.extend(delta.audio_tokens)
        if delta.usage is not None:
            self._usages[delta.part] = delta.usage
        if delta.tries is not None:
            self._tries.leave(delta.tries)
        shows = delta.text or delta.reasoning or delta.audio_tokens or delta.tool_calls
        if (shows and not delta.made) or (delta.pcm and delta.offset is None):
            self._has_all = False


def _chance(request: ThinkerRequest) -> int:
    """What its answer is drawn by where it has no seed: the same for all replicas."""
    return request.chance or random.randint(1, 2**62)


def _with_chances(request: SpeechRequest) -> SpeechRequest:
    thinker = replace(request.thinker, chance=_chance(request.thinker))
    then = (replace(part.thinker, chance=_chance(part.thinker)) for part in request.then)
    parts = tuple(
        replace(part, thinker=asked) for part, asked in zip(request.then, then, strict=True)
    )
    return replace(request, thinker=thinker, then=parts)


def _ids() -> "array[int]":
    """Ids of an answer, 4 bytes each: 33 s of speech are 7 kB."""
    return array("i")


def _require_next(offset: int | None, expected: int, *, goes_on: bool) -> None:
    """Raise OutOfStep unless a delta begins where the one before it ended.

    A replica of a version that knows no offsets cannot go on: it begins anew.
    """
    if offset is None and goes_on:
        raise OutOfStep(0, expected)
    if offset is not None and offset != expected:
        raise OutOfStep(offset, expected)
