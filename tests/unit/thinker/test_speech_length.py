import pytest

from deployments.thinker.speech_length import TOKENS_PER_S, speech_length

SENTENCE = "A little horse drank some water before breakfast."
SENTENCE_S = (2.0, 4.5)  # what quick and slow speakers take for it


def test_a_sentence_takes_what_speakers_take():
    quick_s, slow_s = SENTENCE_S
    assert quick_s < speech_length(SENTENCE).usual / TOKENS_PER_S < slow_s
    assert speech_length(SENTENCE).most / TOKENS_PER_S > 2 * slow_s


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
    assert speech_length(100 * SENTENCE).usual == pytest.approx(
        100 * speech_length(SENTENCE).usual, rel=0.01
    )
