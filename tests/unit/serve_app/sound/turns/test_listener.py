"""Sound in, events out: sessions beside each other, and the model's word while sound goes on."""

import asyncio
import threading

import numpy as np
import pytest

from serve_app.sound.turns import (
    Interrupts,
    Listener,
    SemanticVad,
    ServerVad,
    SpeechStarted,
    SpeechStopped,
    TurnEvent,
    VoiceActivity,
)
from serve_app.sound.voice_activity import RATE_HZ
from tests.benchmarks.turns.sounds import nano
from tests.nano.with_pauses import with_pauses


@pytest.fixture(scope="module")
def activity():
    activity = VoiceActivity(gathered_s=0)
    yield activity
    activity.close()


class FixedJudge:
    """Says the same of each turn, and keeps what it heard."""

    def __init__(self, complete: float | None) -> None:
        self._complete = complete
        self.heard: list[np.ndarray] = []

    async def complete(self, samples: np.ndarray) -> float | None:
        self.heard.append(samples)
        return self._complete


async def heard(listener: Listener, sound: np.ndarray, samples: int) -> list[TurnEvent]:
    """The events of a sound in chunks of so many samples."""
    events = []
    for start in range(0, len(sound), samples):
        events += await listener.hear(sound[start : start + samples])
        await asyncio.sleep(0)
    return events


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE_HZ), np.float32)


async def test_turns_are_those_of_the_sentences(activity: VoiceActivity) -> None:
    spoken = with_pauses(3)
    listener = Listener(ServerVad(silence_duration_ms=300), activity, None)
    events = await heard(listener, np.concatenate((spoken.samples, silence(1))), 1600)
    started = [event for event in events if isinstance(event, SpeechStarted)]
    stopped = [event for event in events if isinstance(event, SpeechStopped)]
    assert len(started) == len(stopped) == len(spoken.sentences)
    for begin, end, sentence in zip(started, stopped, spoken.sentences, strict=True):
        assert abs(begin.audio_start_ms + 300 - sentence.start_s * 1000) < 130
        assert abs(end.audio_end_ms - 300 - sentence.end_s * 1000) < 130


async def test_any_size_of_chunk_gives_the_same_events(activity: VoiceActivity) -> None:
    sound = with_pauses(2).samples
    found = [
        await heard(Listener(ServerVad(), activity, None), sound, samples)
        for samples in (512, 777, 1600, len(sound))
    ]
    assert found[0] and all(events == found[0] for events in found)


async def test_sessions_beside_each_other_do_not_mix(activity: VoiceActivity) -> None:
    sounds = [with_pauses(count).samples for count in (2, 3)] + [silence(3)]
    alone = [await heard(Listener(ServerVad(), activity, None), each, 800) for each in sounds]
    sizes = (500, 1600, 900)
    together = await asyncio.gather(
        *(
            heard(Listener(ServerVad(), activity, None), sound, size)
            for sound, size in zip(sounds, sizes, strict=True)
        )
    )
    assert together == alone
    assert not alone[2]


@pytest.mark.parametrize(("complete", "wait_ms"), [(1.0, 250), (None, 1000), (0.0, 1600)])
async def test_the_model_moves_the_end_of_a_turn(
    activity: VoiceActivity, complete: float | None, wait_ms: int
) -> None:
    spoken = with_pauses(1)
    judge = FixedJudge(complete)
    listener = Listener(SemanticVad(), activity, judge)
    sound = np.concatenate((spoken.samples, silence(3)))
    stopped_at = None
    for start in range(0, len(sound), 512):
        events = await listener.hear(sound[start : start + 512])
        await asyncio.sleep(0)
        if any(isinstance(event, SpeechStopped) for event in events):
            stopped_at = listener.now_ms
    assert stopped_at is not None
    assert abs(stopped_at - spoken.sentences[-1].end_s * 1000 - wait_ms) < 150
    assert all(RATE_HZ / 2 < len(each) <= 8 * RATE_HZ for each in judge.heard)


def voiced(recording: int, seconds: float) -> np.ndarray:
    """So much of the loudest of a recording, between two seconds of a quiet room."""
    samples = nano(recording + 1)[recording].samples
    length = int(seconds * RATE_HZ)
    starts = np.arange(0, len(samples) - length, 80)
    start = max(starts, key=lambda start: np.sum(samples[start : start + length] ** 2))
    ramp = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / 80)
    sound = samples[start : start + length] * ramp
    sound = np.concatenate((silence(1), 0.3 * sound / np.abs(sound).max(), silence(1)))
    noise = np.random.default_rng(recording).standard_normal(len(sound)) * 3e-3
    return (sound + noise).astype(np.float32)


@pytest.mark.parametrize("recording", range(6))
async def test_a_sound_of_150_ms_stops_no_answer_and_one_of_400_ms_does(
    activity: VoiceActivity, recording: int
) -> None:
    """In semantic mode. The model calls up to 320 ms of the shorter one speech."""
    for seconds, stops in ((0.15, False), (0.4, True)):
        listener = Listener(SemanticVad(), activity, None)
        events = await heard(listener, voiced(recording, seconds), 512)
        kinds = [type(event) for event in events]
        assert SpeechStarted in kinds and (Interrupts in kinds) is stops
        listener = Listener(ServerVad(), activity, None)
        assert Interrupts in map(type, await heard(listener, voiced(recording, seconds), 512))


async def test_a_word_on_a_silence_that_is_over_is_not_heard(activity: VoiceActivity) -> None:
    """The sound goes on before the answer comes; the next silence is asked about anew."""

    class Waits:
        def __init__(self) -> None:
            self.questions: list[asyncio.Future[float]] = []

        async def complete(self, samples: np.ndarray) -> float | None:
            self.questions.append(asyncio.get_running_loop().create_future())
            return await self.questions[-1]

    class Known:
        async def probabilities(self, stream: object, samples: np.ndarray) -> list[float]:
            return [float(each > 0) for each in samples[::512]]

    judge = Waits()
    listener = Listener(SemanticVad(), Known(), judge)  # type: ignore[arg-type]
    speech, quiet = np.ones(512 * 10, np.float32), np.zeros(512 * 4, np.float32)
    await heard(listener, np.concatenate((speech, quiet)), 512)
    await heard(listener, np.concatenate((speech, quiet)), 512)
    first, second = judge.questions
    assert first.cancelled() and not second.done()
    second.set_result(1.0)
    await asyncio.sleep(0)
    events = await heard(listener, np.zeros(512 * 8, np.float32), 512)
    assert isinstance(events[-1], SpeechStopped)


async def test_without_a_rule_time_passes_and_nothing_happens(activity: VoiceActivity) -> None:
    sound = with_pauses(1).samples
    listener = Listener(None, activity, None)
    assert not await heard(listener, sound, 1600)
    begin = listener.now_ms
    listener.change(ServerVad())
    events = await heard(listener, sound, 1600)
    assert isinstance(events[0], SpeechStarted) and events[0].audio_start_ms >= begin
    assert isinstance(events[1], Interrupts)


async def test_a_failure_of_the_model_ends_the_sessions_of_its_batch_alone() -> None:
    class Breaks:
        def step(self, samples: np.ndarray, states: list[object]) -> object:
            if samples.max() > 0:
                raise ValueError("broken")
            return np.zeros((len(states), samples.shape[1] // 512)), states

    activity = VoiceActivity(Breaks(), gathered_s=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="broken"):
        await Listener(ServerVad(), activity, None).hear(silence(1) + 1)
    assert await Listener(ServerVad(), activity, None).hear(silence(1)) == []
    activity.close()


async def test_closing_voice_activity_fails_what_waits() -> None:
    class Slow:
        def step(self, samples: np.ndarray, states: list[object]) -> object:
            begun.set()
            go_on.wait()
            return np.zeros((len(states), samples.shape[1] // 512)), states

    begun, go_on = threading.Event(), threading.Event()
    activity = VoiceActivity(Slow(), gathered_s=0)  # type: ignore[arg-type]
    first = asyncio.ensure_future(Listener(ServerVad(), activity, None).hear(silence(0.1)))
    await asyncio.to_thread(begun.wait)
    second = asyncio.ensure_future(Listener(ServerVad(), activity, None).hear(silence(0.1)))
    await asyncio.sleep(0)
    activity.close()
    go_on.set()
    assert await first == []
    with pytest.raises(RuntimeError, match="closed"):
        await second


async def test_closed_voice_activity_answers_nobody() -> None:
    activity = VoiceActivity()
    activity.close()
    with pytest.raises(RuntimeError, match="closed"):
        await Listener(ServerVad(), activity, None).hear(silence(1))
