"""The table of formats."""

from typing import get_args, get_type_hints

import numpy as np
import pytest
from openai.types.audio.speech_create_params import SpeechCreateParams
from openai.types.chat import ChatCompletionAudioParam

from serve_app.http.chat.types import AudioOutput
from serve_app.http.speech.types import SpeechBody
from serve_app.sound.encoding.format_table import FORMATS
from tests.sounds import decoded, tone


def names(annotation: object) -> set[str]:
    """The strings of a `Literal`, however deep it is wrapped."""
    return (
        {annotation}
        if isinstance(annotation, str)
        else set().union(*map(names, get_args(annotation)))
    )


def test_the_table_has_every_name_of_openai_s_speech_and_of_its_chats() -> None:
    speech = names(get_type_hints(SpeechCreateParams)["response_format"])
    chat = names(get_type_hints(ChatCompletionAudioParam)["format"])
    assert names(SpeechBody.model_fields["response_format"].annotation) == speech
    assert names(AudioOutput.model_fields["format"].annotation) == chat
    assert set(FORMATS) == speech | chat


@pytest.mark.parametrize("name", [name for name in FORMATS if not name.startswith("pcm")])
def test_two_streams_of_one_format_share_nothing(name: str) -> None:
    first, second = FORMATS[name].encoder(), FORMATS[name].encoder()
    sent = b""
    for begin in range(0, 24_000, 4800):
        sent += first.encode(tone(4800, begin))
        second.encode(bytes(9600))
    sent += first.finish()
    second.finish()
    alone = FORMATS[name].encoder()
    assert np.array_equal(decoded(sent), decoded(alone.encode(tone(24_000)) + alone.finish()))
    for encoder in (first, second, alone):
        encoder.close()


@pytest.mark.parametrize("name", FORMATS)
def test_an_encoder_can_be_closed_at_any_time_and_twice(name: str) -> None:
    for steps in (0, 1, 2):
        encoder = FORMATS[name].encoder()
        if steps:
            encoder.encode(bytes(960))
        if steps == 2:
            encoder.finish()
        encoder.close()
        encoder.close()
