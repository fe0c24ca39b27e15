"""A plan as Ray Serve and KubeRay take it: the shipped manifests, with its numbers in them."""

import copy
from pathlib import Path
from typing import Any

import yaml

from serve_app.app import merged
from serve_app.commands.planning.sizing import Plan

HERE = Path(__file__).parent
STAGES = ("Thinker", "Token2Wav")
WORKERS = "workerGroupSpecs"


def ray_service(plan: Plan) -> dict[str, Any]:
    """The RayService: a pod for each GPU."""
    manifest = _manifest(plan)
    manifest["spec"]["serveConfigV2"] = written(serve_config(plan))
    for group in manifest["spec"]["rayClusterConfig"][WORKERS]:
        group |= {"replicas": plan.units, "minReplicas": plan.units, "maxReplicas": plan.units}
    return manifest


def serve_config(plan: Plan) -> dict[str, Any]:
    """What `serve deploy` takes, and `serveConfigV2` holds.

    At most one replica of a stage is on a node: Ray would otherwise put two Token2Wavs on one GPU
    where that leaves no GPU for a Thinker.
    """
    config = yaml.safe_load(_manifest(plan)["spec"]["serveConfigV2"])
    (application,) = config["applications"]
    application["args"] = merged(application["args"], plan.layout.args)
    for deployment in application["deployments"]:
        if deployment["name"] in STAGES:
            deployment |= {"num_replicas": plan.units, "max_replicas_per_node": 1}
        else:
            deployment |= {"max_ongoing_requests": plan.ingress_requests}
    return config


def written(values: Any) -> str:
    """YAML as a person would write it: keys in their order, texts of several lines as such."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True  # one block may be edited without the others


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _manifest(plan: Plan) -> dict[str, Any]:
    text = (HERE / plan.layout.manifest).read_text(encoding="utf-8")
    return copy.deepcopy(yaml.safe_load(text))
