"""Which streams and voices have which pieces of the GPU's memory."""

import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from deployments.errors import ServerFull
from deployments.token2wav.resident.memory import IdPool, Needs


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Pieces of resident memory that belong to one voice or one stream."""

    solver_blocks: list[int]
    encoder_blocks: list[int]
    slots: list[int]


class Voice(Protocol):
    """What is read and written of a `ResidentVoice`, to which weak references can be made."""

    place: Place | None
    prepared: bool
    streams: int


@dataclass(frozen=True, slots=True, eq=False)
class _Forgotten:
    """A stream of `voice`, or a voice, that no code refers to any more."""

    place: Place
    voice: Voice | None = None


class Places:
    """Gives places to streams and voices, from any thread.

    A voice without a stream gives way to a stream or another voice, the longest unused first.

    Streams and voices that are forgotten instead of closed give their places back too. The garbage
    collector may find them inside any allocation, also one that a method of this class makes while
    it holds the lock. So their finalizers take no lock and change nothing but a deque, to which
    appending is atomic; the next method that has the lock empties it.
    """

    def __init__(self, *, solver_blocks: int, encoder_blocks: int, slots: int) -> None:
        self._solver_blocks = IdPool(solver_blocks)
        self._encoder_blocks = IdPool(encoder_blocks)
        self._slots = IdPool(slots)
        self._lock = threading.Lock()
        self._forgotten: deque[_Forgotten] = deque()
        # voices that have a place, the longest unused first; none is kept alive here
        self._resident: OrderedDict[Place, weakref.ref[Voice]] = OrderedDict()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody gets or gives a place back in this block, which must call no other method."""
        with self._lock:
            self._collect()
            yield

    def settle(self, voice: Voice, needs: Needs) -> Place:
        """The place of a voice, which counts as used last; a new one if it has none.

        Raises:
            ServerFull: streams have all the memory.
        """
        with self.locked():
            return self._settle(voice, needs)

    def begin(self, voice: Voice, voice_needs: Needs, needs: Needs) -> Place:
        """A place for a stream in `voice`, which has one too from here on and does not give way.

        Raises:
            ServerFull: as `settle`.
        """
        with self.locked():
            voice.streams += 1
            try:
                self._settle(voice, voice_needs)
                return self._take(needs)
            except BaseException:
                voice.streams -= 1
                raise

    def watch(self, stream: object, voice: Voice, place: Place) -> weakref.finalize:
        """Take the place back when `stream` is forgotten. Returns what `end` wants."""
        return self._when_forgotten(stream, _Forgotten(place, voice))

    def end(self, watch: weakref.finalize) -> None:
        """Take the place of a watched stream back; once, however often it is called."""
        if (ended := watch.detach()) is None:
            return
        _, _, (what,), _ = ended
        with self.locked():
            self._end(what)

    @property
    def free(self) -> tuple[int, int, int]:
        """Solver blocks, encoder blocks and slots that are free."""
        with self.locked():
            return self._solver_blocks.free, self._encoder_blocks.free, self._slots.free

    def _when_forgotten(self, value: object, what: _Forgotten) -> weakref.finalize:
        finalizer = weakref.finalize(value, self._forgotten.append, what)
        finalizer.atexit = False
        return finalizer

    def _collect(self) -> None:
        while self._forgotten:
            self._end(self._forgotten.popleft())

    def _end(self, what: _Forgotten) -> None:
        if what.voice is not None:
            what.voice.streams -= 1
        elif self._resident.pop(what.place, None) is None:
            return  # a voice that gave way before
        self._give(what.place)

    def _settle(self, voice: Voice, needs: Needs) -> Place:
        if voice.place is None:
            voice.place = place = self._take(needs)
            self._resident[place] = weakref.ref(voice)
            self._when_forgotten(voice, _Forgotten(place))
        self._resident.move_to_end(voice.place)
        return voice.place

    def _take(self, needs: Needs) -> Place:
        while not self._has(needs):
            self._make_room()
        return Place(
            self._solver_blocks.take(needs.solver_blocks),
            self._encoder_blocks.take(needs.encoder_blocks),
            self._slots.take(needs.slots),
        )

    def _has(self, needs: Needs) -> bool:
        return (
            self._solver_blocks.free >= needs.solver_blocks
            and self._encoder_blocks.free >= needs.encoder_blocks
            and self._slots.free >= needs.slots
        )

    def _make_room(self) -> None:
        """Let one voice give way."""
        for place, reference in self._resident.items():
            voice = reference()
            if voice is not None and not voice.streams:
                del self._resident[place]
                self._give(place)
                voice.place, voice.prepared = None, False
                return
        raise ServerFull()

    def _give(self, place: Place) -> None:
        self._solver_blocks.give(place.solver_blocks)
        self._encoder_blocks.give(place.encoder_blocks)
        self._slots.give(place.slots)
