"""Pauses: the quiet at a joint becomes as long as it should be, and sound is never cut into."""

import numpy as np
import pytest

from deployments.spoken_answer.pauses import KEPT, Pauses
from tests.sounds import tone

RATE_HZ = 24_000
HUM_S = 0.5


def noise(seconds: float, level: float = 20.0) -> bytes:
    """A room's noise, s16le."""
    samples = np.random.default_rng(7).normal(0, level, round(seconds * RATE_HZ))
    return samples.astype("<i2").tobytes()


def hum(seconds: float = HUM_S) -> bytes:
    return tone(round(seconds * RATE_HZ))


def spoken(sound: bytes, *joints: tuple[int, float], chunk: int = 4800) -> bytes:
    """`sound` in chunks of so many samples, with pauses at joints."""
    pauses = Pauses()
    for sample, pause_s in joints:
        pauses.add(sample, pause_s)
    pieces = [sound[at : at + 2 * chunk] for at in range(0, len(sound), 2 * chunk)]
    return b"".join(map(pauses.push, pieces))


def quiet_s(sound: bytes) -> list[float]:
    """The seconds of each quiet of 10 ms and more between two sounds."""
    levels = np.abs(np.frombuffer(sound, "<i2").astype(int))
    gaps = np.diff(np.flatnonzero(levels > 160)) / RATE_HZ
    return [float(gap) for gap in gaps if gap > 0.01]


CHUNKS = (240, 4800, 11_111, 24_000, 10**6)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize(("before_s", "after_s"), [(0.1, 0.1), (0.15, 0.0), (0.0, 0.03)])
def test_a_quiet_that_is_too_short_becomes_as_long_as_asked_for(
    before_s: float, after_s: float, chunk: int
) -> None:
    sound = hum() + noise(before_s) + noise(after_s) + hum()
    joint = round((HUM_S + before_s) * RATE_HZ)
    assert quiet_s(spoken(sound, (joint, 0.4), chunk=chunk)) == [pytest.approx(0.4, abs=0.002)]


@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_quiet_that_is_long_enough_is_left_as_it_is(chunk: int) -> None:
    sound = hum() + noise(0.5) + hum()
    joint = round((HUM_S + 0.1) * RATE_HZ)
    assert spoken(sound, (joint, 0.4), chunk=chunk) == sound


@pytest.mark.parametrize("chunk", CHUNKS)
def test_sound_that_goes_on_over_a_joint_is_left_as_it_is(chunk: int) -> None:
    sound = hum(2.0)
    joints = [(at, 0.7) for at in (1, 4800, 20_003, 47_999)]
    assert spoken(sound, *joints, chunk=chunk) == sound


def test_a_quiet_elsewhere_is_left_as_it_is() -> None:
    sound = hum() + noise(0.1) + hum() + noise(0.1) + hum()
    joint = round((2 * HUM_S + 0.15) * RATE_HZ)
    first, second = quiet_s(spoken(sound, (joint, 0.3)))
    assert (first, second) == (pytest.approx(0.1, abs=0.002), pytest.approx(0.3, abs=0.002))


@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_pause_has_neither_a_click_nor_a_hole_in_the_noise_of_the_room(chunk: int) -> None:
    sound = hum() + noise(0.2) + hum()
    longer = np.frombuffer(spoken(sound, (round(0.6 * RATE_HZ), 0.7), chunk=chunk), "<i2")
    inside = longer[round(HUM_S * RATE_HZ) + 10 : round((HUM_S + 0.7) * RATE_HZ) - 10].astype(float)
    levels = [np.sqrt(np.mean(part**2)) for part in np.array_split(inside, 20)]
    assert min(levels) > 12 and max(levels) < 28  # the noise has 20
    steps = np.abs(np.diff(longer.astype(int)))
    assert steps.max() <= np.abs(np.diff(np.frombuffer(sound, "<i2").astype(int))).max()


def test_a_pause_comes_with_the_sound_that_ends_it_and_nothing_is_held_back() -> None:
    pauses = Pauses()
    pauses.add(12_000, 0.5)
    for piece in (hum(), noise(0.1)):
        assert pauses.push(piece) == piece
    longer_s = (len(pauses.push(hum())) - len(hum())) / 2 / RATE_HZ
    assert longer_s == pytest.approx(0.4, abs=0.001)


def test_what_stays_in_memory_does_not_grow() -> None:
    pauses = Pauses()
    for _ in range(50):
        pauses.push(noise(1.0))
    assert len(pauses._tail) <= KEPT
