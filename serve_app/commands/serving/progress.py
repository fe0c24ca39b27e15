"""What a graph that starts waits for, read from Ray Serve's own account of it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ray.serve.schema import (
    ApplicationStatus,
    DeploymentDetails,
    RayActorOptionsSchema,
    ReplicaState,
    ServeInstanceDetails,
)

from deployments.errors import ConfigError

Resources = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A deployment of which a replica has no process yet, or has one and is not ready."""

    deployment: str
    needs: Resources | None
    """What a replica takes of a node, where it has no process there yet."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What the node must be labelled with."""

    def sentence(self, cluster: Resources, free: Resources) -> str:
        """What is missing, in one line.

        Args:
            cluster: What the cluster has of each resource.
            free: What of it is free.
        """
        if self.needs is None:
            return f"{self.deployment} is starting"
        if any(amount > free.get(name, 0) for name, amount in self.needs.items()):
            has = {name: cluster.get(name, 0) for name in self.needs}
            left = {name: free.get(name, 0) for name in self.needs}
            return (
                f"{self.deployment} waits for {_amounts(self.needs)}; the cluster has "
                f"{_amounts(has)}, free: {_amounts(left)}"
            )
        labelled = "".join(f", {name}={value}" for name, value in self.labels.items())
        needs = f"{_amounts(self.needs)}{labelled}"
        return f"{self.deployment} is starting; it needs one node with {needs}"


def waiting(details: ServeInstanceDetails) -> list[Waiting]:
    """The deployments that keep the graph from being ready."""
    return [
        _waiting(deployment)
        for application in details.applications.values()
        for deployment in application.deployments.values()
        if _running(deployment) < deployment.target_num_replicas
    ]


def is_running(details: ServeInstanceDetails) -> bool:
    """Whether every application runs."""
    states = [application.status for application in details.applications.values()]
    return bool(states) and all(state == ApplicationStatus.RUNNING for state in states)


def failure(details: ServeInstanceDetails) -> str | None:
    """Why the graph cannot start: Serve has given up, or a stage refuses its configuration."""
    for application in details.applications.values():
        accounts = [d.message for d in application.deployments.values()] + [application.message]
        errors = [line for account in accounts for line in error_lines(account)]
        refusals = [line for line in errors if ConfigError.__name__ in line]
        if refusals:
            return refusals[-1].partition(f"{ConfigError.__name__}: ")[2] or refusals[-1]
        if application.status == ApplicationStatus.DEPLOY_FAILED:
            return errors[-1] if errors else application.message
    return None


def error_lines(account: str) -> list[str]:
    """The lines of a traceback, or of several, that name an error."""
    lines = [line.strip() for line in account.splitlines()]
    return [line for line in lines if "Error" in line.partition(": ")[0]]


def _running(deployment: DeploymentDetails) -> int:
    return sum(replica.state == ReplicaState.RUNNING for replica in deployment.replicas)


def _has_place(deployment: DeploymentDetails) -> bool:
    starting = [r for r in deployment.replicas if r.state == ReplicaState.STARTING]
    return all(replica.node_id is not None for replica in starting)


def _waiting(deployment: DeploymentDetails) -> Waiting:
    if _has_place(deployment):
        return Waiting(deployment.name, needs=None)
    bundles = deployment.deployment_config.placement_group_bundles
    needs = total(bundles) if isinstance(bundles, list) else deployment.required_resources
    actor = deployment.deployment_config.ray_actor_options
    labels = actor.label_selector if isinstance(actor, RayActorOptionsSchema) else None
    taken = {name: amount for name, amount in needs.items() if amount}
    return Waiting(deployment.name, taken, labels or {})


def total(bundles: Iterable[Resources]) -> Resources:
    """The sum of a placement group's bundles."""
    result: Counter[str] = Counter()
    for bundle in bundles:
        result.update(bundle)
    return dict(result)


def _amounts(resources: Resources) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items()) or "nothing"
