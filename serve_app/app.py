"""The graph: `serve run serve_app.app:app model=…`, or any YAML under `configs/`.

Ray Serve validates the builder's argument only where the annotation is a class, so this module
must not postpone its annotations.
"""

import os
from collections.abc import Mapping
from typing import Any

from ray import serve

from deployments import nvidia_mps
from deployments.thinker.deployment import ThinkerDeployment
from deployments.token2wav.deployment import Token2WavDeployment
from serve_app.config import AppConfig
from serve_app.http.ingress import Ingress

# `graceful_shutdown_timeout_s`: a replica that stops finishes its streams first. A chat's longest
# default answer plays for 33 s.
# `health_check_period_s`: Serve replaces a replica after three failed checks in a row, so 3 s after
# its health turned bad. `health_check_timeout_s`: a process that hangs is found after three checks
# without an answer, so within 33 s.
# RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH: replicas call each other by gRPC. Its default limit of
# 4 MB is 65 s of a recording.
# grpc_proxy: gRPC would otherwise look for the replicas behind the proxy that `http_proxy` names.
STAGE_OPTIONS: dict[str, Any] = {
    "graceful_shutdown_timeout_s": 60,
    "health_check_period_s": 1,
    "ray_actor_options": {
        "runtime_env": {
            "env_vars": {
                "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(100 << 20),
                "grpc_proxy": "",
            },
        },
    },
}
# Streams mostly wait, so one replica serves many of them. A full stage refuses with a 429. Serve
# counts a request as queued while it looks for a replica, so the queue must hold a whole burst.
THINKER_OPTIONS: dict[str, Any] = {
    "max_ongoing_requests": 256,
    "max_queued_requests": 256,
    "ray_actor_options": {"num_gpus": 0.6},
}
TOKEN2WAV_OPTIONS: dict[str, Any] = {
    "max_ongoing_requests": 256,  # its engine refuses earlier: it knows how many streams fit
    "max_queued_requests": 256,
    "ray_actor_options": {"num_gpus": 0.4},
}
SERVE_MIDDLEWARES = "serve_app.http.serve_middlewares:middlewares"
INGRESS_OPTIONS: dict[str, Any] = {
    "max_ongoing_requests": 1024,
    "ray_actor_options": {
        "runtime_env": {
            "env_vars": {
                "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": SERVE_MIDDLEWARES,
            },
        },
    },
}
CALLED_OPTIONS: dict[str, Any] = {  # of the stages, which handles call; HAProxy calls the ingress
    "health_check_timeout_s": 10,
    "request_router_config": {
        "request_router_class": "serve_app.graph.ray_request_router:ReplicaChoice"
    },
}


def app(args: AppConfig) -> serve.Application:
    """Bind the deployments into `Ingress(Thinker, Token2Wav(Thinker))`."""
    shares = args.gpu_sharing.mps
    thinker = ThinkerDeployment.options(  # type: ignore[attr-defined]
        **stage_options(
            merged(THINKER_OPTIONS, sharing(shares.thinker if shares else None)),
            args.thinker.deployment_config,
        )
    ).bind(args.model, args.thinker, args.recovery)
    token2wav = None
    if args.token2wav is not None:
        token2wav = Token2WavDeployment.options(  # type: ignore[attr-defined]
            **stage_options(
                merged(TOKEN2WAV_OPTIONS, sharing(shares.token2wav if shares else None)),
                args.token2wav.deployment_config,
            )
        ).bind(args.model, args.token2wav, thinker, args.voice_store, args.recovery)
    return Ingress.options(  # type: ignore[attr-defined]
        **merged(STAGE_OPTIONS, INGRESS_OPTIONS, args.ingress_deployment_config)
    ).bind(args.http_of_model, thinker, token2wav, args.voice_store, args.recovery)


def stage_options(defaults: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a stage's deployment: what the configuration chose over our defaults.

    Ray Serve puts the replica into the first of its `placement_group_bundles`. If the replica took
    a share of that bundle's GPU, vLLM's first rank would wait for the share silently. So with
    bundles a replica takes no GPU unless the configuration says so.
    """
    gpus = {"ray_actor_options": {"num_gpus": 0}} if "placement_group_bundles" in chosen else {}
    return merged(STAGE_OPTIONS, CALLED_OPTIONS, defaults, gpus, chosen)


def sharing(share: int | None) -> dict[str, Any]:
    """Options of a stage that may use `share` per cent of a GPU beside others; None: all of it."""
    if share is None:
        return {}
    return {"ray_actor_options": {"runtime_env": {"env_vars": nvidia_mps.environment(share)}}}


def merged(*options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of which later ones win, key by key at every depth."""
    result: dict[str, Any] = {}
    for layer in options:
        for key, value in layer.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = merged(result[key], value) if both else value
    return result


def default_graph() -> serve.Application:
    """The graph with every default on one GPU."""
    return app(
        AppConfig.model_validate(
            {
                "model": os.environ.get("STEP_AUDIO2_MODEL", "stepfun-ai/Step-Audio-2-mini"),
                "thinker": {"engine_kwargs": {"gpu_memory_utilization": 0.5}},  # half: Token2Wav's
            }
        )
    )


def __getattr__(name: str) -> serve.Application:
    """`serve build serve_app.app:default_app` takes no builder: the graph is built when asked."""
    if name == "default_app":
        return default_graph()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
