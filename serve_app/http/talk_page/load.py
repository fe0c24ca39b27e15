"""What a replica of the ingress does, as the page shows it."""

import os
from statistics import median

from serve_app.graph.activity import Activity
from serve_app.http.types import ApiAnswer


class Processors(ApiAnswer):
    count: int
    busy: float  # 0 to 1: processes that ran or wanted to in the last minute, for each processor


class Load(ApiAnswer):
    """Of one replica of the ingress, but for the processors, which are those of its node."""

    text_answers: int  # under way
    spoken_answers: int
    first_sound_s: float | None  # the median of the last answers; None before the first
    real_time_factor: float | None
    processors: Processors


def load_of(activity: Activity) -> Load:
    """`activity` and the node's processors at the moment."""
    return Load(
        text_answers=activity.text_answers,
        spoken_answers=activity.spoken_answers,
        first_sound_s=_median(activity.first_sounds_s),
        real_time_factor=_median(activity.real_time_factors),
        processors=_processors(),
    )


def _median(values: tuple[float, ...]) -> float | None:
    return round(median(values), 3) if values else None


def _processors() -> Processors:
    count = os.cpu_count() or 1
    return Processors(count=count, busy=round(min(1.0, os.getloadavg()[0] / count), 3))
