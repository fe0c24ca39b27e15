"""What every stage's configuration has in common."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """A section of the configuration: a key that it does not know is refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StageSettings(Settings):
    """Settings of a stage as a Ray Serve deployment."""

    deployment_config: dict[str, Any] = Field(default_factory=dict)
    """Options of Ray Serve's `deployment.options`: replicas, autoscaling, `ray_actor_options`,
    `placement_group_bundles`…"""
