"""The graph: `serve run serve_app.app:app model=…`, or any YAML under `configs/`.

Ray Serve validates the builder's argument only where the annotation is a class, so this module
must not postpone its annotations.
"""

import os
from typing import Any

from ray import serve

from deployments.thinker.deployment import ThinkerDeployment
from deployments.token2wav.deployment import Token2WavDeployment
from serve_app.config import AppConfig
from serve_app.ingress import Ingress

# Streams are long and mostly wait, so a replica takes many; what a full stage refuses is a 429.
# A replica that stops lets the streams it has end first: the longest default answer is 33 s.
SHUTDOWN = {"graceful_shutdown_timeout_s": 60}
THINKER_OPTIONS: dict[str, Any] = {
    **SHUTDOWN,
    "max_ongoing_requests": 256,
    "max_queued_requests": 64,
    "ray_actor_options": {"num_gpus": 1},
}
TOKEN2WAV_OPTIONS: dict[str, Any] = {
    **SHUTDOWN,
    "max_ongoing_requests": 64,
    "max_queued_requests": 64,
    "ray_actor_options": {"num_gpus": 0.3},
}
INGRESS_OPTIONS: dict[str, Any] = {**SHUTDOWN, "max_ongoing_requests": 1024}

DEFAULT_MODEL = os.environ.get("STEP_AUDIO2_MODEL", "stepfun-ai/Step-Audio-2-mini")


def app(args: AppConfig) -> serve.Application:
    """Bind the deployments into `Ingress(Thinker, Token2Wav(Thinker))`."""
    thinker = ThinkerDeployment.options(  # type: ignore[attr-defined]
        **THINKER_OPTIONS | args.thinker.deployment_config
    ).bind(args.model, args.thinker)
    token2wav = None
    if args.token2wav is not None:
        token2wav = Token2WavDeployment.options(  # type: ignore[attr-defined]
            **TOKEN2WAV_OPTIONS | args.token2wav.deployment_config
        ).bind(args.model, args.token2wav, thinker)
    return Ingress.options(  # type: ignore[attr-defined]
        **INGRESS_OPTIONS | args.ingress_deployment_config
    ).bind(args.http, thinker, token2wav)


default_app = app(AppConfig(model=DEFAULT_MODEL))
"""The graph with every default, for `serve build` and `serve deploy`, which take no builder."""
