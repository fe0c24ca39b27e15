"""Who has which blocks: streams and voices that are closed, give way, or are forgotten."""

import gc
from dataclasses import dataclass

import pytest

from deployments.errors import ServerFull
from deployments.token2wav.resident.memory import Needs
from deployments.token2wav.resident.places import Place, Places
from tests.unit.deployments.token2wav_resident.collector import collect_anywhere_in

VOICE = Needs(solver_blocks=2, encoder_blocks=1, slots=1)
STREAM = Needs(solver_blocks=3, encoder_blocks=2, slots=2)
ALL = (40, 40, 40)


@dataclass(slots=True, eq=False, weakref_slot=True)
class Voice:
    place: Place | None = None
    prepared: bool = False
    streams: int = 0


class Stream:
    """Holds its voice, and what gives its place back."""

    def __init__(self, places: Places, voice: Voice) -> None:
        self.voice = voice
        self.place = places.begin(voice, VOICE, STREAM)
        self.watch = places.watch(self, voice, self.place)


@pytest.fixture
def places() -> Places:
    return Places(solver_blocks=41, encoder_blocks=41, slots=41)  # id 0 is never given out


def test_a_stream_found_forgotten_while_another_opens_blocks_nobody(places: Places) -> None:
    voice = Voice()
    collect_anywhere_in(lambda: Stream(places, voice), forget=lambda: Stream(places, voice))
    gc.collect()
    assert places.free == (38, 39, 39)  # the voice keeps its place
    assert voice.streams == 0


def test_a_voice_found_forgotten_while_room_is_made_disturbs_nobody(places: Places) -> None:
    def settled() -> Voice:
        voice = Voice()
        places.settle(voice, VOICE)
        return voice

    def filled() -> list[Voice]:
        return [settled() for _ in range(20)]

    waiting = filled()
    collect_anywhere_in(filled, forget=settled)
    del waiting
    gc.collect()
    assert places.free == ALL


def test_a_place_is_given_back_once_however_often_its_stream_is_closed(places: Places) -> None:
    voice = Voice()
    stream = Stream(places, voice)
    assert places.free == (35, 37, 37)
    for _ in range(2):
        places.end(stream.watch)
    del stream
    gc.collect()
    assert places.free == (38, 39, 39)
    assert voice.streams == 0


def test_a_voice_without_a_stream_gives_way_and_one_with_a_stream_does_not(places: Places) -> None:
    idle, used = Voice(), Voice()
    places.settle(idle, VOICE)
    streams = [Stream(places, used)]
    with pytest.raises(ServerFull):
        while True:
            streams.append(Stream(places, used))
    assert idle.place is None
    assert used.place is not None and used.streams == len(streams)


def test_a_voice_that_gave_way_and_is_forgotten_gives_nothing_back_twice(places: Places) -> None:
    idle, used = Voice(), Voice()
    places.settle(idle, VOICE)
    streams = []
    with pytest.raises(ServerFull):
        while True:
            streams.append(Stream(places, used))
    del idle
    for stream in streams:
        places.end(stream.watch)
    assert places.free == (38, 39, 39)


def test_what_has_a_place_has_it_alone(places: Places) -> None:
    streams = [Stream(places, Voice()) for _ in range(5)]
    taken = [id_ for stream in streams for id_ in stream.place.solver_blocks]
    taken += [id_ for s in streams if s.voice.place for id_ in s.voice.place.solver_blocks]
    assert len(taken) == len(set(taken)) == 5 * (2 + 3)
    assert 0 not in taken
