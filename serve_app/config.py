"""The whole configuration: what a YAML under `configs/` puts in `args`."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from deployments.thinker.config import ThinkerConfig
from deployments.token2wav.config import Token2WavConfig
from serve_app.http_settings import HttpSettings


class AppConfig(BaseModel):
    """Arguments of `serve_app.app:app`; a key that it does not know is refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    """A model directory, or a Hugging Face repository such as `stepfun-ai/Step-Audio-2-mini`."""

    thinker: ThinkerConfig = ThinkerConfig()

    token2wav: Token2WavConfig | None = Token2WavConfig()
    """None serves text answers only: no Token2Wav is started."""

    http: HttpSettings = HttpSettings()

    ingress_deployment_config: dict[str, Any] = Field(default_factory=dict)
    """Options of Ray Serve's `deployment.options` for the HTTP ingress."""
