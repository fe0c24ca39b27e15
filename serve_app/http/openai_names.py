"""The names of OpenAI's own models and voices, which clients ask for by default."""

from collections.abc import Mapping, Sequence

# Those that speak, write speech down or do both. A name that ends in `-diarize` is not among them:
# it asks for speakers, which this model does not distinguish.
OPENAI_MODELS = (
    "tts-1",
    "tts-1-hd",
    "gpt-4o-mini-tts",
    "whisper-1",
    "gpt-transcribe",
    "gpt-live-transcribe",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-audio",
    "gpt-audio-mini",
    "gpt-audio-1.5",
    "gpt-4o-audio-preview",
    "gpt-4o-mini-audio-preview",
    "gpt-realtime",
    "gpt-realtime-mini",
    "gpt-realtime-1.5",
    "gpt-realtime-2",
    "gpt-realtime-2.1",
    "gpt-realtime-2.1-mini",
    "gpt-realtime-translate",
    "gpt-realtime-whisper",
    "gpt-4o-realtime-preview",
    "gpt-4o-mini-realtime-preview",
)

OPENAI_VOICES = (
    "alloy",
    "ash",
    "ballad",
    "coral",
    "echo",
    "fable",
    "onyx",
    "nova",
    "sage",
    "shimmer",
    "verse",
    "marin",
    "cedar",
)


def voice_behind(name: str, voices: Sequence[str], aliases: Mapping[str, str | None]) -> str:
    """The voice that a request means by `name`.

    A configured voice of that name comes first. An alias without a voice of its own gets one by its
    place among the aliases: the first alias the first of `voices`, the second the second, and so on
    in a circle. A name that is neither stays as it is.
    """
    if name in voices or name not in aliases:
        return name
    if (chosen := aliases[name]) is not None:
        return chosen
    return voices[list(aliases).index(name) % len(voices)] if voices else name
