"""The `http:` section of the configuration: what the HTTP surface serves and what it refuses."""

from pydantic import Field, SecretStr

from deployments.errors import ConfigError
from deployments.settings import Settings
from serve_app.http.openai_names import OPENAI_MODELS, OPENAI_VOICES


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

    api_keys: tuple[SecretStr, ...] = ()
    """Bearer tokens that may use `/v1`; none at all leaves it open."""

    max_input_chars: int = Field(default=4096, ge=1)
    """The longest text that one request may have spoken (OpenAI's limit)."""

    max_passage_s: float = Field(default=26.0, ge=1)
    """The longest text that the model speaks in one go, in the seconds that a quick voice takes:
    26 s are 520 letters or 156 Chinese characters. A longer one is spoken in passages of about
    half of that. A passage takes 31 tokens a second of the model's context, and its prompt."""

    max_audio_s: float = Field(default=600.0, gt=0)
    """All recordings that one chat may bring together, in seconds."""

    max_upload_bytes: int = Field(default=25 << 20, ge=1)
    """The largest request body (OpenAI's limit for a file), but for recordings to write down."""

    max_recording_s: float = Field(default=3600.0, gt=0)
    """The longest recording to transcribe or translate, in seconds."""

    max_recording_bytes: int = Field(default=128 << 20, ge=1)
    """The largest request body of such a recording: an hour of WAV at 16 kHz has 110 MiB."""

    max_voices: int = Field(default=1000, ge=0)
    """How many uploaded voices the store may hold; 0 takes no uploads."""

    voices_listed_without_key: bool = False
    """Whether `GET /v1/audio/voices` needs no key. Open WebUI reads the list without one."""

    spoken_turns_kept: int = Field(default=1024, ge=1)
    """Spoken answers kept for the next turn of a chat; what expires first goes first."""

    spoken_turn_ttl_s: float = Field(default=3600.0, gt=0)
    """How long such an answer can be named by its `audio.id`, in seconds."""

    retry_after_s: float = Field(default=1.0, ge=0)
    """`Retry-After` of a 429 or 503 whose cause does not know a better one, in seconds."""


def require_one_ingress(replicas: int) -> None:
    """Refuse more than one replica of the ingress: each keeps its own spoken turns.

    Raises:
        ConfigError: the next turn of a chat could reach a replica that does not know the last one.
    """
    if replicas > 1:
        raise ConfigError(
            f"the ingress must have one replica, not {replicas}: a spoken turn is known only to "
            "the replica that answered it; set ingress_deployment_config.num_replicas to 1, or "
            "its autoscaling_config.max_replicas"
        )
