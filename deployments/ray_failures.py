"""Failures as they come out of Ray: what was raised in the first place, and Ray's own."""

from typing import Any

import grpc
from ray.exceptions import RayActorError, RayTaskError, TaskCancelledError, WorkerCrashedError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
    gRPCStatusError,
)

from deployments.errors import ServerFull

WRAPPERS: tuple[type[Exception], ...] = (RayTaskError, gRPCStatusError, ExceptionGroup)
"""What `unwrap` opens."""

FULL: tuple[type[Exception], ...] = (ServerFull, BackPressureError)
"""There is no room now; the same request may be sent again a little later."""

NO_REPLICA: tuple[type[Exception], ...] = (
    RayActorError,  # its subclasses: the actor died, or cannot be reached
    WorkerCrashedError,
    TaskCancelledError,  # a replica that shuts down cancels what it has left
    DeploymentUnavailableError,
    ReplicaUnavailableError,
    grpc.RpcError,  # handles that use gRPC lose a dead replica this way
)
"""A stage has no replica, or lost the one that was answering."""


def unwrap(error: BaseException) -> BaseException:
    """The error that was raised in the first place, out of what Ray put around it."""
    while True:
        if isinstance(error, RayTaskError):
            inner: Any = error.cause
        elif isinstance(error, gRPCStatusError):
            inner = error.original_exception
        elif isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            inner = error.exceptions[0]
        else:
            return error
        if not isinstance(inner, BaseException) or inner is error:
            return error
        error = inner
