"""The whole configuration: what a YAML under `configs/` puts in `args`."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from deployments.errors import ConfigError
from deployments.resume import Recovery
from deployments.settings import Settings
from deployments.thinker.thinker_config import ThinkerConfig
from deployments.token2wav.token2wav_config import Token2WavConfig
from deployments.voice_store import folder_of
from serve_app.http.access.keys import ApiKeys, configured
from serve_app.http.settings import HttpSettings, require_shared_turns

RAY_SERVES_AUTO = 100  # replicas that Ray Serve's `auto` may start


class MpsShares(Settings):
    """Per cent of a GPU's multiprocessors that each stage may use at most; they may overlap.

    Under some shares a GPU multiplies wrongly (on an H200 under 60, 75 and 85 %). Each replica
    tries its share before it loads anything, and refuses to start under such a one."""

    thinker: int = Field(default=50, ge=1, le=100)
    token2wav: int = Field(default=100, ge=1, le=100)


class GpuSharing(Settings):
    """How the stages use a GPU that both of them have a part of."""

    mps: MpsShares | None = None
    """Side by side under CUDA's Multi-Process Service, which the replicas start and end.

    None: one after the other."""


class AppConfig(BaseModel):
    """Arguments of `serve_app.app:app`; a key that it does not know is refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    """A model directory, or a Hugging Face repository such as `stepfun-ai/Step-Audio-2-mini`."""

    thinker: ThinkerConfig = ThinkerConfig()

    token2wav: Token2WavConfig | None = Token2WavConfig()
    """None serves text answers only: no Token2Wav is started."""

    http: HttpSettings = HttpSettings()

    gpu_sharing: GpuSharing = GpuSharing()

    recovery: Recovery = Recovery()

    voice_store: str | None = None
    """Where uploaded voices are kept: a folder (from `/` or `~`) that all machines of the graph
    share, or a URL of fsspec's such as `s3://bucket/voices`. None takes no uploads."""

    ingress_deployment_config: dict[str, Any] = Field(default_factory=dict)
    """Options of Ray Serve's `deployment.options` for the HTTP ingress."""

    @property
    def http_of_model(self) -> HttpSettings:
        """`http`, with what it leaves out and the other sections say."""
        realtime, context = self.http.realtime, self.thinker.engine_kwargs.get("max_model_len")
        if realtime.context_tokens is not None or not isinstance(context, int):
            return self.http
        known = realtime.model_copy(update={"context_tokens": context})
        return self.http.model_copy(update={"realtime": known})

    @model_validator(mode="after")
    def _ingress_replicas_share_turns(self) -> Self:
        require_shared_turns(_most_replicas(self.ingress_deployment_config), self.http)
        return self

    @model_validator(mode="after")
    def _api_keys_can_be_used(self) -> Self:
        ApiKeys(configured(self.http))
        return self

    @model_validator(mode="after")
    def _aliases_name_voices(self) -> Self:
        if self.token2wav is not None:
            voices = ("default", *self.token2wav.voices)
            for alias, voice in self.http.voice_aliases.items():
                if voice is not None and voice not in voices:
                    raise ConfigError(
                        f"the configuration's http.voice_aliases.{alias} names the voice {voice!r};"
                        f" configured are: {', '.join(voices)}"
                    )
        return self

    @model_validator(mode="after")
    def _store_can_be_opened(self) -> Self:
        if self.voice_store is not None:
            folder_of(self.voice_store)
        if self.http.spoken_turns_folder is not None:
            folder_of(self.http.spoken_turns_folder, "http.spoken_turns_folder")
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _complain_in_one_line(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Turn pydantic's page into the line that an operator reads at the end of Ray's log."""
        try:
            return handler(value)
        except ValidationError as error:
            raise ConfigError("; ".join(map(_complaint, error.errors()))) from None


def _complaint(error: Any) -> str:
    key = ".".join(str(step) for step in error["loc"])
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"the configuration has an unknown key: {key}"
    if error["type"] == "missing":
        return f"the configuration lacks a key: {key}"
    return f"the configuration's {key}: {error['msg']}"


def _most_replicas(options: Mapping[str, Any]) -> int:
    """How many replicas a deployment of these `options` may come to have.

    Ray Serve itself refuses values of another type.
    """
    count, scaling = options.get("num_replicas"), options.get("autoscaling_config")
    most = RAY_SERVES_AUTO if count == "auto" else count
    if isinstance(scaling, Mapping):
        most = scaling.get("max_replicas", most)
    return most if isinstance(most, int) else 1
