"""The `http:` section of the configuration: what the HTTP surface serves and what it refuses."""

import os
import re

from pydantic import Field, SecretStr, field_validator

from deployments.errors import ConfigError
from deployments.settings import Settings
from serve_app.http.openai_names import OPENAI_MODELS, OPENAI_VOICES

KEYS_VARIABLE = "STEP_AUDIO2_SPOKEN_TURN_KEYS"
ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s?#]+")


class KeyLimits(Settings):
    """What one API key may use of the whole server; None sets no limit."""

    requests_per_minute: int | None = Field(default=None, ge=1)
    """Requests, but for `GET` and `HEAD`. As many may come at once; they are regained evenly."""

    concurrent_streams: int | None = Field(default=None, ge=1)
    """Requests under way at once, each from its first byte to the end of its answer."""

    open_sessions: int | None = Field(default=None, ge=1)
    """WebSockets open at once. Each is a request when it opens, and each of its answers is another
    one, under way until it ends."""

    audio_s_per_minute: float | None = Field(default=None, gt=0)
    """Seconds of sound that the model hears and speaks for the key in a minute."""

    audio_s_per_hour: float | None = Field(default=None, gt=0)
    """The same in an hour."""


class RealtimeSettings(Settings):
    """Limits of the sessions of `/v1/realtime`."""

    max_sessions: int = Field(default=256, ge=0)
    """Sessions open at once in one replica of the ingress; one more is refused with a 429."""

    max_session_s: float = Field(default=3600.0, gt=0)
    """How long a session may last, in seconds (OpenAI's limit)."""

    idle_s: float = Field(default=900.0, gt=0)
    """How long a session lasts while its client sends nothing, in seconds."""

    context_tokens: int | None = Field(default=None, ge=1)
    """The model's context, by which a session knows what to forget before a prompt is too long.
    Without it `thinker.engine_kwargs.max_model_len`, or else the first refusal tells."""

    speculative: bool = False
    """Whether an answer is begun in the first 200 ms of a silence, with its sound held back, and
    dropped if the speaker goes on. It costs a request for each pause in speech."""


class HttpSettings(Settings):
    """Names, limits and keys of the HTTP surface."""

    models: tuple[str, ...] = Field(default=("step-audio-2-mini",), min_length=1)
    """Names that requests may call the model by; `/v1/models` lists them in this order."""

    model_aliases: tuple[str, ...] = OPENAI_MODELS
    """Further names of the model, which `/v1/models` does not list; an empty list allows none."""

    voice_aliases: dict[str, str | None] = Field(
        default_factory=lambda: dict.fromkeys(OPENAI_VOICES)
    )
    """Further names of voices, each with a voice, or with null for one that the server picks:
    such names take the configured voices in turn. An empty mapping allows none."""

    api_keys: tuple[SecretStr, ...] | dict[str, SecretStr] = ()
    """Bearer tokens that may use `/v1`: a list, or a mapping from names to them. `sha256:` and the
    hash of a key may stand for the key. Those of `api_keys_file` and of the environment variable
    STEP_AUDIO2_API_KEYS are added; none at all leaves the server open."""

    api_keys_file: str | None = None
    """A file of further keys, one a line: `NAME: KEY`, `NAME: sha256:HASH` or either without a
    name. Each ingress replica reads it when it starts."""

    key_limits: KeyLimits = KeyLimits()
    """What each API key may use."""

    limits_of_key: dict[str, KeyLimits] = Field(default_factory=dict)
    """What the API key of a name may use, in place of `key_limits`."""

    realtime: RealtimeSettings = RealtimeSettings()

    cors_origins: tuple[str, ...] = ()
    """Origins such as `https://example.org` whose pages may call the server; `*` is every one."""

    max_input_chars: int = Field(default=4096, ge=1, le=1 << 20)
    """The longest text that one request may have spoken (OpenAI's limit); 1048576 at most, as of
    every text in JSON."""

    max_passage_s: float = Field(default=26.0, ge=1)
    """The longest text that the model speaks in one go, in the seconds that a quick voice takes:
    26 s are 520 letters or 156 Chinese characters. A longer one is spoken in passages of about
    half of that. A passage takes 31 tokens a second of the model's context, and its prompt."""

    text_stream_idle_s: float = Field(default=60.0, gt=0)
    """How long a client of `/v1/audio/speech/stream` may send nothing while the server waits for
    it, and how long it may read nothing, in seconds. Then the connection is closed."""

    max_audio_s: float = Field(default=600.0, gt=0)
    """All recordings that one chat may bring together, in seconds."""

    max_upload_bytes: int = Field(default=25 << 20, ge=1)
    """The largest request body (OpenAI's limit for a file), but for recordings to write down."""

    max_recording_s: float = Field(default=3600.0, gt=0)
    """The longest recording to transcribe or translate, in seconds."""

    max_recording_bytes: int = Field(default=128 << 20, ge=1)
    """The largest request body of such a recording: an hour of WAV at 16 kHz has 110 MiB."""

    upload_timeout_s: float = Field(default=30.0, gt=0)
    """How long a request body may take to come, in seconds; a longer one gets one second more for
    each kilobyte."""

    max_voices: int = Field(default=1000, ge=0)
    """How many uploaded voices the store may hold; 0 takes no uploads."""

    voices_listed_without_key: bool = False
    """Whether `GET /v1/audio/voices` needs no key. Open WebUI reads the list without one."""

    spoken_turn_keys: tuple[SecretStr, ...] = Field(
        default_factory=lambda: tuple(map(SecretStr, os.environ.get(KEYS_VARIABLE, "").split()))
    )
    """Keys of 16 characters or more that sign the `audio.id`s of spoken answers: the first signs,
    all verify. Without this key they are read from STEP_AUDIO2_SPOKEN_TURN_KEYS, with spaces
    between them; without any the replica makes one up, and its ids are void when it ends."""

    spoken_turn_keys_file: str | None = None
    """A file of further keys, one a line, that each ingress replica reads when it starts."""

    spoken_turns_folder: str | None = None
    """Where streamed spoken answers are kept for the next turn of a chat: a folder or any URL of
    fsspec that all ingress replicas share. null keeps them in the replica's memory."""

    spoken_turns_kept: int = Field(default=1024, ge=1)
    """Streamed spoken answers kept in memory; what expires first goes first."""

    spoken_turn_ttl_s: float = Field(default=3600.0, gt=0)
    """How long a spoken answer can be named by its `audio.id`, in seconds."""

    retry_after_s: float = Field(default=1.0, ge=0)
    """`Retry-After` of a 429 or 503, in seconds, where its cause names no time of its own."""

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin such as https://example.org")
        return origins


def require_shared_turns(replicas: int, settings: HttpSettings) -> None:
    """Refuse several replicas of the ingress that could not read each other's `audio.id`s.

    Raises:
        ConfigError: they have no common key, or no common store.
    """
    if replicas < 2:
        return
    wanted = f"{replicas} replicas of the ingress need "
    if not settings.spoken_turn_keys and settings.spoken_turn_keys_file is None:
        raise ConfigError(
            f"{wanted}a common key for the ids of spoken turns: set http.spoken_turn_keys_file, "
            f"http.spoken_turn_keys or {KEYS_VARIABLE}"
        )
    if settings.spoken_turns_folder is None:
        raise ConfigError(
            f"{wanted}a common store of spoken turns: set http.spoken_turns_folder to a folder or "
            "a URL that all of them share"
        )
