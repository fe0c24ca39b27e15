"""What a key may use, in virtual time."""

import pytest

from deployments.errors import ConfigError, LimitReached
from serve_app.http.access.key_limits import Allowance, TokenBucket, allowances
from serve_app.http.settings import HttpSettings, KeyLimits


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def use(allowance: Allowance, times: int = 1) -> None:
    for _ in range(times):
        with allowance.stream():
            pass


def test_a_bucket_that_is_overdrawn_fills_evenly_and_never_beyond_its_capacity(
    clock: Clock,
) -> None:
    bucket = TokenBucket(60, 60.0, clock)
    bucket.spend(90)
    assert bucket.wait_s(1) == 31
    clock.now_s += 31
    assert bucket.wait_s(1) == 0
    clock.now_s += 10_000
    bucket.spend(59.5)
    assert bucket.wait_s(1) == 0.5


def test_requests_of_a_minute_may_come_at_once_and_are_regained_evenly(clock: Clock) -> None:
    allowance = Allowance("anna", KeyLimits(requests_per_minute=6), now_s=clock)
    use(allowance, 6)
    with pytest.raises(LimitReached, match="'anna' may send 6 requests in a minute") as refused:
        use(allowance)
    assert refused.value.retry_after_s == pytest.approx(10)
    clock.now_s += 10
    use(allowance)
    with pytest.raises(LimitReached):
        use(allowance)


def test_what_is_left_of_a_minute_s_requests_goes_down_and_comes_back(clock: Clock) -> None:
    allowance = Allowance("anna", KeyLimits(requests_per_minute=6), now_s=clock)
    use(allowance, 2)
    left = allowance.requests_left()
    assert left is not None
    assert left.headers() == {
        "x-ratelimit-limit-requests": "6",
        "x-ratelimit-remaining-requests": "4",
        "x-ratelimit-reset-requests": "20s",
    }
    clock.now_s += 25
    left = allowance.requests_left()
    assert left is not None
    assert (left.remaining, left.reset_s) == (6, 0)


def test_a_replica_says_what_it_grants_itself(clock: Clock) -> None:
    limits = KeyLimits(requests_per_minute=6)
    left = Allowance("anna", limits, replicas=3, now_s=clock).requests_left()
    assert left is not None
    assert (left.limit, left.remaining) == (6, 2)


def test_nothing_is_said_of_requests_without_a_limit(clock: Clock) -> None:
    allowance = Allowance("anna", KeyLimits(audio_s_per_minute=6), now_s=clock)
    assert allowance.requests_left() is None


def test_a_refused_request_counts_for_nothing(clock: Clock) -> None:
    limits = KeyLimits(requests_per_minute=3, concurrent_streams=1)
    allowance = Allowance("anna", limits, retry_after_s=2.0, now_s=clock)
    with allowance.stream():
        for _ in range(5):
            with pytest.raises(LimitReached, match="1 requests under way at once") as refused:
                use(allowance)
            assert refused.value.retry_after_s == 2.0
    use(allowance, 2)


def test_a_stream_that_fails_makes_room(clock: Clock) -> None:
    allowance = Allowance("anna", KeyLimits(concurrent_streams=1), now_s=clock)
    with pytest.raises(KeyError), allowance.stream():
        raise KeyError
    use(allowance)


def test_an_answer_may_end_over_the_limit_and_the_next_waits_for_a_second_of_sound(
    clock: Clock,
) -> None:
    allowance = Allowance("anna", KeyLimits(audio_s_per_minute=30), now_s=clock)
    with allowance.stream():
        allowance.spend_audio(60)
    with pytest.raises(LimitReached, match="use 30 s of audio in a minute") as refused:
        use(allowance)
    assert refused.value.retry_after_s == 62  # half a second of sound a second
    clock.now_s += 62
    use(allowance)


def test_the_hour_holds_where_the_minute_has_room(clock: Clock) -> None:
    limits = KeyLimits(audio_s_per_minute=60, audio_s_per_hour=90)
    allowance = Allowance("anna", limits, now_s=clock)
    for _ in range(2):
        use(allowance)
        allowance.spend_audio(50)
        clock.now_s += 60
    with pytest.raises(LimitReached, match="90 s of audio in an hour"):
        use(allowance)


def test_several_replicas_have_a_part_each_and_one_at_least(clock: Clock) -> None:
    limits = KeyLimits(requests_per_minute=7, concurrent_streams=2, audio_s_per_minute=30)
    parts = [Allowance("anna", limits, replicas=3, now_s=clock) for _ in range(3)]
    for part in parts:
        use(part, 3)
        with pytest.raises(LimitReached, match="7 requests"):
            use(part)
    clock.now_s += 60
    parts[0].spend_audio(10)
    with pytest.raises(LimitReached, match="30 s of audio") as refused:
        use(parts[0])
    assert refused.value.retry_after_s == pytest.approx(6)
    use(parts[1])


def test_limits_are_those_of_the_key_or_of_every_key_and_none_where_nothing_is_limited() -> None:
    settings = HttpSettings.model_validate(
        {"key_limits": {"requests_per_minute": 1}, "limits_of_key": {"ben": {}}}
    )
    assert allowances(settings, frozenset({"anna", "ben"})).keys() == {"anna"}


def test_limits_that_hold_for_nobody_are_refused() -> None:
    with pytest.raises(ConfigError, match="names 'bne', but no API key has that name"):
        settings = HttpSettings.model_validate({"limits_of_key": {"bne": {}}})
        allowances(settings, frozenset({"ben"}))
    with pytest.raises(ConfigError, match=r"there is none: set http\.api_keys"):
        settings = HttpSettings.model_validate({"key_limits": {"requests_per_minute": 1}})
        allowances(settings, frozenset())
