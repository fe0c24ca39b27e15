import pytest

from deployments.thinker.speech_length import TOKENS_PER_S, speech_length

SENTENCE = "A little horse drank some water before breakfast."
QUICK_S, SLOW_S = 2.2, 4.5  # what speakers take for it


def test_what_is_needed_is_what_a_quick_speaker_takes():
    assert 0.9 * QUICK_S < speech_length(SENTENCE).least / TOKENS_PER_S < 1.2 * QUICK_S


def test_what_is_granted_is_twice_what_a_slow_speaker_takes():
    assert speech_length(SENTENCE).most / TOKENS_PER_S > 2 * SLOW_S


@pytest.mark.parametrize(
    ("text", "slowest_s"),
    [
        ("Hi", 2.0),
        ("1234567890", 8.0),
        ("今天天气很好，我们出去走走吧。", 8.0),
        ("&", 2.0),
        ("", 0.0),
    ],
)
def test_no_voice_is_cut_off(text, slowest_s):
    assert speech_length(text).most / TOKENS_PER_S > slowest_s


def test_more_text_takes_more():
    assert speech_length(2 * SENTENCE).most > speech_length(SENTENCE).most
    assert speech_length(100 * SENTENCE).least == pytest.approx(
        100 * speech_length(SENTENCE).least, rel=0.01
    )
