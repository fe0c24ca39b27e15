"""The places that background work leaves."""

from contextlib import ExitStack

import pytest

from deployments.errors import ServerFull
from deployments.priority import MOST_IN_BACKGROUND, Places, places_for
from serve_app.app import THINKER_OPTIONS, TOKEN2WAV_OPTIONS


def test_background_work_has_half_of_the_places_and_live_requests_are_not_counted():
    places = Places(4)
    with ExitStack() as taken:
        for _ in range(2):
            taken.enter_context(places.taken_by("background"))
        with pytest.raises(ServerFull), places.taken_by("background"):
            pass
        for _ in range(8):
            taken.enter_context(places.taken_by("live"))
    with places.taken_by("background"):
        pass


def test_background_work_has_a_place_where_there_is_only_one():
    with Places(1).taken_by("background"):
        pass


def test_background_work_cannot_fill_the_requests_that_ray_serve_lets_into_a_replica():
    for options in (THINKER_OPTIONS, TOKEN2WAV_OPTIONS):
        assert options["max_ongoing_requests"] // 2 >= MOST_IN_BACKGROUND
    assert places_for("background", 1024) == MOST_IN_BACKGROUND
