"""A stream that goes on where a replica was lost: exactly where it broke, or not at all.

The caller of a stage keeps what the next replica needs: the ids that were made, and how much sound
was received. One attempt is one generator. What a lost replica still says is said to nobody, and a
delta counts only at the offset that is expected. So nothing is repeated and nothing is left out.
"""

from deployments.resume.attempts import D, NotBegun, is_cancelled, resumed
from deployments.resume.progress import OutOfStep, Progress, SpokenProgress, WrittenProgress
from deployments.resume.retry_policy import WAITS_S, Policy, Recovery, Tries

__all__ = [
    "WAITS_S",
    "D",
    "NotBegun",
    "OutOfStep",
    "Policy",
    "Progress",
    "Recovery",
    "SpokenProgress",
    "Tries",
    "WrittenProgress",
    "is_cancelled",
    "resumed",
]
