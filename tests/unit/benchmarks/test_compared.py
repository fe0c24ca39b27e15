"""What the resident engine is measured with on a GPU; this needs none."""

import math

import pytest
import torch

from tests.benchmarks.compared import require_finite, snr_db, worst_difference


@pytest.fixture
def sound() -> torch.Tensor:
    return torch.sin(torch.arange(480) / 7)


@pytest.mark.parametrize("compare", [worst_difference, snr_db])
@pytest.mark.parametrize("place", [0, 17, -1])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_waveform_with_one_value_that_is_no_number_fails_on_either_side(
    sound: torch.Tensor, compare, place: int, value: float
) -> None:
    broken = sound.clone()
    broken[place] = value
    with pytest.raises(AssertionError, match="computed: 1 of 480"):
        compare(sound, broken)
    with pytest.raises(AssertionError, match="expected: 1 of 480"):
        compare(broken, sound)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_memory_filled_with_255_holds_no_number(dtype: torch.dtype) -> None:
    memory = torch.full((64,), 255, dtype=torch.uint8)
    with pytest.raises(AssertionError, match="first at \\[0\\]"):
        require_finite("poisoned", memory.view(dtype))


@pytest.mark.parametrize("compare", [worst_difference, snr_db])
def test_waveforms_of_other_lengths_or_none_are_not_compared(sound: torch.Tensor, compare) -> None:
    with pytest.raises(AssertionError, match="480"):
        compare(sound, sound[:1])  # would be broadcast
    with pytest.raises(AssertionError, match="nothing"):
        compare(sound[:0], sound[:0])


def test_a_tenth_of_the_amplitude_is_20_db(sound: torch.Tensor) -> None:
    assert snr_db(sound, 1.1 * sound) == pytest.approx(20, abs=1e-4)
    assert worst_difference(sound, sound + 0.25) == pytest.approx(0.25)


def test_equal_silence_is_equal_and_a_click_in_it_is_not() -> None:
    silence = torch.zeros(480)
    click = silence.clone()
    click[100] = 0.01
    assert snr_db(silence, silence) == math.inf
    assert snr_db(silence, click) == -math.inf
