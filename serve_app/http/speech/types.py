"""The types of `/v1/audio/speech`, under OpenAI's names."""

from typing import Annotated, Literal

from pydantic import Field

from serve_app.http.types import ApiAnswer, AskedVoice, JsonRequest, TokenUsage, WholeNumber


class Manner(JsonRequest):
    """How a text is to be spoken, whatever it is."""

    voice: AskedVoice | None = None
    instructions: str | None = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: Annotated[float, Field(ge=0.25, le=4)] | None = None
    # Not OpenAI's: how the tokens are drawn, as in a chat.
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="How freely tokens are drawn; 0 draws greedily."
    )
    seed: WholeNumber | None = Field(
        default=None, ge=-(2**63), lt=2**63, description="The same seed draws the same tokens."
    )


class SpeechBody(Manner):
    """`POST /v1/audio/speech`."""

    model: str
    input: str = Field(min_length=1)
    stream_format: Literal["audio", "sse"] = "audio"
    # Not OpenAI's: whether the sound is sent while it is made.
    stream: bool = Field(default=True, description="false sends one file of a known length.")


class SpeechAudioDelta(ApiAnswer):
    type: Literal["speech.audio.delta"] = "speech.audio.delta"
    audio: str  # base64


class SpeechAudioDone(ApiAnswer):
    type: Literal["speech.audio.done"] = "speech.audio.done"
    usage: TokenUsage
