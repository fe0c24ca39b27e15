"""The manifests and KubeRay's published schema of them."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[3]
CLUSTER = REPOSITORY / "cluster"
MANIFESTS = sorted(CLUSTER.glob("rayservice-*.yaml"))
_SCHEMA_FILE = Path(__file__).parent / "kuberay" / "rayservice_v1.json.gz"


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def serve_config(manifest: dict[str, Any]) -> dict[str, Any]:
    """What KubeRay hands to Ray Serve."""
    return yaml.safe_load(manifest["spec"]["serveConfigV2"])


@cache
def crd_schema() -> dict[str, Any]:
    """The JSON schema of a `ray.io/v1` RayService, closed: no unknown field anywhere."""
    return _closed(json.loads(gzip.decompress(_SCHEMA_FILE.read_bytes())))


def _closed(schema: Any) -> Any:
    """The schema with `additionalProperties: false` wherever Kubernetes would prune."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
    return closed
