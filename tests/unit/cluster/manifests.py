"""The manifests and KubeRay's published schema of them."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[3]
CLUSTER = REPOSITORY / "cluster"
MANIFESTS = sorted(CLUSTER.glob("rayservice-*.yaml"))
_SCHEMA_FILE = REPOSITORY.parent / "shared" / "kuberay" / "ray.io_rayservices.yaml"


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def serve_config(manifest: dict[str, Any]) -> dict[str, Any]:
    """What KubeRay hands to Ray Serve."""
    return yaml.safe_load(manifest["spec"]["serveConfigV2"])


@cache
def crd_schema() -> dict[str, Any]:
    """The JSON schema of a `ray.io/v1` RayService, closed: no unknown field anywhere."""
    if not _SCHEMA_FILE.is_file():
        pytest.skip(f"KubeRay's schema is not at {_SCHEMA_FILE}")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a megabyte: 2 s against 20 s
    definition = yaml.load(_SCHEMA_FILE.read_text(encoding="utf-8"), Loader=loader)
    versions = {version["name"]: version for version in definition["spec"]["versions"]}
    return _closed(versions["v1"]["schema"]["openAPIV3Schema"])


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
