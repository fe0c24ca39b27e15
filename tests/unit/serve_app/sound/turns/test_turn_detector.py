"""Where turns begin and end, in virtual frames of 32 ms."""

from collections.abc import Iterable

import pytest

from serve_app.sound.turns import (
    Eagerness,
    IdleTimeout,
    Interrupts,
    Paused,
    Resumed,
    SemanticVad,
    ServerVad,
    SpeechStarted,
    SpeechStopped,
    TurnDetector,
    TurnEvent,
)
from serve_app.sound.turns.end_of_turn_silence import WAITS

SPEECH, BETWEEN, SILENCE = 0.9, 0.4, 0.01


def heard(detector: TurnDetector, *parts: tuple[float, int]) -> list[TurnEvent]:
    """The events of parts: a probability, and for how many frames it holds."""
    return [
        event
        for probability, frames in parts
        for _ in range(frames)
        for event in detector.push(probability)
    ]


def of_kind(events: Iterable[TurnEvent], *kinds: type) -> list[TurnEvent]:
    return [event for event in events if isinstance(event, kinds)]


def test_a_turn_has_its_padding_and_the_silence_that_ended_it() -> None:
    events = heard(TurnDetector(ServerVad()), (SILENCE, 100), (SPEECH, 50), (SILENCE, 100))
    started, stopped = SpeechStarted(3200 - 300), SpeechStopped(3200 - 300, 4800 + 500)
    assert events == [started, Interrupts(3232), Paused(4960), stopped]


@pytest.mark.parametrize("silence_ms", [200, 480, 500, 512, 1000])
def test_a_turn_ends_with_the_frame_that_completes_its_silence(silence_ms: int) -> None:
    frames = -(-silence_ms // 32)
    detector = TurnDetector(ServerVad(silence_duration_ms=silence_ms))
    assert not of_kind(heard(detector, (SPEECH, 20), (SILENCE, frames - 1)), SpeechStopped)
    assert detector.push(SILENCE) == [SpeechStopped(0, 640 + silence_ms)]


@pytest.mark.parametrize(
    ("threshold", "probability", "begins"),
    [(0.5, 0.5, True), (0.5, 0.49, False), (0.8, 0.79, False), (0.1, 0.1, True), (0.0, 0.0, True)],
)
def test_speech_begins_at_the_threshold(threshold: float, probability: float, begins: bool) -> None:
    events = heard(TurnDetector(ServerVad(threshold=threshold)), (probability, 1))
    assert bool(of_kind(events, SpeechStarted)) is begins


def test_sound_between_silence_and_the_threshold_continues_what_was() -> None:
    rule = ServerVad(silence_duration_ms=96)
    assert not of_kind(heard(TurnDetector(rule), (SPEECH, 5), (BETWEEN, 50)), SpeechStopped)
    ended = heard(TurnDetector(rule), (SPEECH, 5), (SILENCE, 1), (BETWEEN, 2))
    assert of_kind(ended, SpeechStopped)
    assert not heard(TurnDetector(rule), (BETWEEN, 50))


def test_padding_never_reaches_into_the_turn_before() -> None:
    rule = ServerVad(prefix_padding_ms=1000, silence_duration_ms=320)
    events = heard(TurnDetector(rule), (SPEECH, 10), (SILENCE, 12), (SPEECH, 10))
    first, second = of_kind(events, SpeechStarted)
    (stopped,) = of_kind(events, SpeechStopped)
    assert first == SpeechStarted(0)  # nor before the session
    assert stopped == SpeechStopped(0, 640)
    assert second == SpeechStarted(640)


def test_a_pause_is_announced_once_and_so_is_its_end() -> None:
    detector = TurnDetector(ServerVad())
    events = heard(detector, (SPEECH, 10), (SILENCE, 10), (SPEECH, 10), (SILENCE, 4), (SPEECH, 3))
    assert of_kind(events, Paused, Resumed) == [Paused(480), Resumed(672)]


def test_a_silence_shorter_than_a_pause_ends_a_turn_if_the_rule_says_so() -> None:
    events = heard(TurnDetector(ServerVad(silence_duration_ms=64)), (SPEECH, 5), (SILENCE, 2))
    assert [type(event) for event in events] == [SpeechStarted, Interrupts, SpeechStopped]


def test_server_vad_interrupts_at_the_first_frame_of_each_turn_alone() -> None:
    events = heard(TurnDetector(ServerVad()), (SILENCE, 10), (SPEECH, 99), (SILENCE, 30))
    assert of_kind(events, Interrupts) == [Interrupts(352)]


def test_semantic_turns_interrupt_after_200_ms_of_speech() -> None:
    detector = TurnDetector(SemanticVad())
    assert heard(detector, (SPEECH, 6)) == [SpeechStarted(0)]
    assert heard(detector, (SPEECH, 30)) == [Interrupts(224)]


def test_a_sound_of_assent_stops_nothing_in_semantic_turns() -> None:
    mhm = [(SPEECH, 5), (BETWEEN, 3), (SILENCE, 6)]
    events = heard(TurnDetector(SemanticVad()), *mhm, *mhm, *mhm, (SILENCE, 99))
    assert of_kind(events, SpeechStopped) and not of_kind(events, Interrupts)


def test_what_the_model_hears_behind_a_sound_does_not_count_as_speech() -> None:
    detector = TurnDetector(SemanticVad())
    assert heard(detector, (SPEECH, 6)) == [SpeechStarted(0)]
    assert not any(detector.push(SPEECH, level=0.09) for _ in range(10))
    assert heard(detector, (SPEECH, 1)) == [Interrupts(17 * 32)]


def test_a_stop_consonant_does_not_put_off_the_interruption() -> None:
    events = heard(TurnDetector(SemanticVad()), (SPEECH, 4), (SILENCE, 3), (SPEECH, 3))
    assert of_kind(events, Interrupts)


def semantic_stop(eagerness: Eagerness, complete: float | None, ask: bool = True) -> int:
    """ms of silence after which a turn ends when the model says `complete`."""
    detector = TurnDetector(SemanticVad(eagerness))
    heard(detector, (SPEECH, 20))
    for frames in range(1, 1000):
        if of_kind(detector.push(SILENCE), SpeechStopped):
            return frames * 32
        if ask and detector.asks():
            detector.judged(complete)
    raise AssertionError("the turn does not end")


@pytest.mark.parametrize("eagerness", ["low", "medium", "high", "auto"])
def test_the_model_only_moves_the_wait_between_the_bounds(eagerness: Eagerness) -> None:
    waits = WAITS[eagerness]
    found = [semantic_stop(eagerness, tenth / 100) for tenth in range(101)]
    assert found == sorted(found, reverse=True)  # the more complete, the sooner
    assert waits.complete <= found[-1] < waits.complete + 32
    assert waits.incomplete <= found[0] < waits.incomplete + 32
    unknown = semantic_stop(eagerness, None)
    assert waits.unknown <= unknown < waits.unknown + 32
    assert semantic_stop(eagerness, 1.0, ask=False) == unknown
    assert waits.complete < waits.unknown < waits.incomplete


def test_the_more_eager_the_shorter_each_wait() -> None:
    assert WAITS["auto"] == WAITS["medium"]
    for complete in (None, 0.0, 0.9, 1.0):
        waits = [WAITS[each].after(complete) for each in ("low", "medium", "high")]
        assert waits == sorted(waits, reverse=True) and len(set(waits)) == 3


def test_the_model_is_asked_in_a_pause_of_a_semantic_turn_alone() -> None:
    detector = TurnDetector(SemanticVad())
    heard(detector, (SILENCE, 20), (SPEECH, 20), (SILENCE, 3))
    assert not detector.asks()
    detector.push(SILENCE)
    assert detector.asks()
    detector.push(SPEECH)
    assert not detector.asks()
    server = TurnDetector(ServerVad())
    heard(server, (SPEECH, 20), (SILENCE, 8))
    assert not server.asks()


def test_an_answer_to_a_pause_that_is_over_counts_for_nothing() -> None:
    detector = TurnDetector(SemanticVad())
    heard(detector, (SPEECH, 20), (SILENCE, 5), (SPEECH, 5))
    detector.judged(1.0)
    assert not of_kind(heard(detector, (SILENCE, WAITS["medium"].unknown // 32)), SpeechStopped)


def test_a_semantic_turn_keeps_half_a_second_of_a_long_silence() -> None:
    events = heard(TurnDetector(SemanticVad("low")), (SPEECH, 20), (SILENCE, 300))
    assert of_kind(events, SpeechStopped) == [SpeechStopped(0, 640 + 500)]


def test_the_idle_time_counts_from_the_end_of_playback() -> None:
    detector = TurnDetector(ServerVad(idle_timeout_ms=5000))
    assert not heard(detector, (SILENCE, 1000))  # no answer was played yet
    detector.idle_from(None)
    assert not heard(detector, (SILENCE, 1000))
    detector.idle_from(70_000)  # the sound will have been played at this position
    events = heard(detector, (SILENCE, 1000))
    assert events == [IdleTimeout(70_000, 75_008)]


def test_speech_ends_the_idle_time() -> None:
    detector = TurnDetector(ServerVad(idle_timeout_ms=5000))
    detector.idle_from(0)
    events = heard(detector, (SILENCE, 100), (SPEECH, 10), (SILENCE, 1000))
    assert not of_kind(events, IdleTimeout)


def test_a_turn_that_the_client_ended_is_forgotten() -> None:
    detector = TurnDetector(ServerVad())
    heard(detector, (SPEECH, 20))
    detector.end_turn()
    assert not heard(detector, (SILENCE, 100))
    detector.end_turn()
    assert heard(detector, (SPEECH, 1))[0] == SpeechStarted(120 * 32)


def test_a_rule_may_change_within_a_turn() -> None:
    detector = TurnDetector(ServerVad())
    heard(detector, (SPEECH, 20))
    detector.change(ServerVad(silence_duration_ms=1000))
    assert of_kind(heard(detector, (SILENCE, 99)), SpeechStopped) == [SpeechStopped(0, 1640)]
    heard(detector, (SPEECH, 20))
    detector.change(SemanticVad())
    heard(detector, (SILENCE, 5))
    assert detector.asks()


def test_frames_that_nobody_hears_pass_the_time() -> None:
    detector = TurnDetector(ServerVad())
    detector.skip(100)
    assert heard(detector, (SPEECH, 1)) == [SpeechStarted(3200), Interrupts(3232)]
