"""What was raised in the first place, out of what Ray put around it."""

from ray.exceptions import RayTaskError

from deployments.errors import AudioTooLong, EngineFailed
from deployments.ray_failures import unwrap


def through_two_actors(error: Exception) -> Exception:
    once = RayTaskError("thinker", "tb", error).as_instanceof_cause()
    return RayTaskError("token2wav", "tb", once).as_instanceof_cause()


def test_unwrap_finds_the_error_through_two_actors() -> None:
    inner = AudioTooLong(41, 30, param="file")
    assert unwrap(through_two_actors(inner)) is inner


def test_unwrap_opens_a_group_of_one() -> None:
    inner = EngineFailed("dead")
    assert unwrap(ExceptionGroup("tasks", [inner])) is inner
