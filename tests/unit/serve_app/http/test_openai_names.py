"""OpenAI's names for models and voices."""

import re
from typing import get_args, get_type_hints

import pytest
from openai.types import AudioModel
from openai.types.audio import SpeechModel
from openai.types.audio.speech_create_params import SpeechCreateParams
from openai.types.realtime.audio_transcription_param import AudioTranscriptionParam
from openai.types.realtime.realtime_session_create_request_param import (
    RealtimeSessionCreateRequestParam,
)
from openai.types.shared import ChatModel

from serve_app.http.openai_names import OPENAI_MODELS, OPENAI_VOICES, voice_behind

VOICES = ("default", "anna", "ben")
AUTOMATIC = dict.fromkeys(OPENAI_VOICES)


def names(annotation: object) -> set[str]:
    """The strings of a `Literal`, however deep it is wrapped."""
    if isinstance(annotation, str):
        return {annotation}
    return set().union(*map(names, get_args(annotation)))


def undated(models: set[str]) -> set[str]:
    return {re.sub(r"-\d{4}-\d{2}-\d{2}$", "", name) for name in models}


def test_every_model_of_openai_s_clients_that_has_to_do_with_sound_has_an_alias() -> None:
    known = names(SpeechModel) | names(AudioModel)
    known |= {name for name in names(ChatModel) if "audio" in name}
    known |= names(get_type_hints(RealtimeSessionCreateRequestParam)["model"])
    known |= names(get_type_hints(AudioTranscriptionParam)["model"])
    assert undated(known) - {"gpt-4o-transcribe-diarize"} <= set(OPENAI_MODELS)


def test_every_voice_of_openai_s_clients_has_an_alias() -> None:
    assert names(get_type_hints(SpeechCreateParams)["voice"]) - {"id"} <= set(OPENAI_VOICES)
    assert len(OPENAI_VOICES) == 13


def test_aliases_take_the_configured_voices_in_turn() -> None:
    spread = [voice_behind(name, VOICES, AUTOMATIC) for name in OPENAI_VOICES]
    assert spread == [VOICES[i % 3] for i in range(13)]


def test_with_one_voice_every_alias_is_that_voice() -> None:
    assert {voice_behind(name, ("default",), AUTOMATIC) for name in OPENAI_VOICES} == {"default"}


def test_a_configured_voice_wins_over_the_alias_of_its_name() -> None:
    assert voice_behind("alloy", ("default", "alloy"), AUTOMATIC) == "alloy"


@pytest.mark.parametrize(
    ("name", "voice"), [("narrator", "ben"), ("alloy", "alloy"), ("nobody", "nobody")]
)
def test_aliases_of_the_operator_stand_in_place_of_openai_s(name: str, voice: str) -> None:
    assert voice_behind(name, VOICES, {"narrator": "ben"}) == voice


def test_without_voices_a_name_stays_as_it_is() -> None:
    assert voice_behind("alloy", (), AUTOMATIC) == "alloy"
