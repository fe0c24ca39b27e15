"""Many streams over one engine: batches, life cycles and failures, with a stand-in engine."""

import asyncio
import hashlib
import threading
import time
from pathlib import Path

import pytest

from deployments.chunker import Chunk, ChunkSchedule
from deployments.errors import (
    AudioUnreadable,
    ConfigError,
    EngineFailed,
    ServerFull,
    UnknownVoice,
    VoiceUnusable,
)
from deployments.messages import ReferenceAudio, StoredVoice
from deployments.token2wav.admission import Admission
from deployments.token2wav.canary import INTERVAL_S, TOKENS
from deployments.token2wav.contract import StepOutput
from deployments.token2wav.engine_threads import ThreadRunner
from deployments.token2wav.observer import Unobserved
from deployments.token2wav.synthesizer import BatchingSynthesizer
from deployments.token2wav.voice_files import VoiceRecording
from tests.unit.deployments.token2wav.clock import Clock

STEP_S = 0.02
SCHEDULE = ChunkSchedule(ramp=(4, 6), steady=10, lookahead=3)
BUSY = ChunkSchedule(ramp=(8,), steady=10, lookahead=3)


class StandIn:
    """Says which tokens it was given; notes what it was asked for, and in which thread."""

    codebook_size, lookahead, max_streams, rows_share_a_step = 100, 3, 3, True

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.chunks: list[tuple[int, bool]] = []  # tokens of each, and whether it was the last
        self.prepared: list[bytes] = []
        self.opened = 0
        self.closed: list[str] = []
        self.threads: set[int] = set()
        self.stepping = False
        self.fails = False
        self.broken: set[str] = set()  # states that turn non-finite
        self.off_by = 0  # added to every token
        self.may_end = threading.Event()  # a step that is held up ends when it is set
        self.may_end.set()
        self.may_encode = threading.Event()
        self.may_encode.set()

    def encode_voice(self, data: bytes) -> str:
        self.prepared.append(data)
        self.may_encode.wait(10)
        if data == b"broken":
            raise AudioUnreadable("broken")
        return data.decode()

    def place_voice(self, encoded: str) -> str:
        self.threads.add(threading.get_ident())
        return encoded

    def open(self, voice: str) -> str:
        self.opened += 1
        return f"{voice}-{self.opened}"

    def close(self, state: str) -> None:
        self.closed.append(state)

    def step(self, rows):
        self.threads.add(threading.get_ident())
        self.stepping = True
        time.sleep(STEP_S)
        self.may_end.wait(10)
        self.stepping = False
        if self.fails:
            raise RuntimeError("out of memory")
        self.batches.append(len(rows))
        self.chunks += [(len(row.tokens), row.last) for row in rows]
        return [self._speak(row) for row in rows]

    def _speak(self, row) -> StepOutput:
        if row.state in self.broken:
            return StepOutput(b"", row.state, finite=False)
        return StepOutput(bytes(token + self.off_by for token in row.tokens), row.state)


def schedules(open_streams: int, lookahead: int) -> ChunkSchedule:
    assert lookahead == StandIn.lookahead
    return BUSY if open_streams >= 2 else SCHEDULE


def recording(data: bytes) -> VoiceRecording:
    return VoiceRecording(Path("voice.wav"), data, seconds=1.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission() -> Admission:
    return Admission(min_rows=4)


@pytest.fixture
async def started(clock, admission):
    engine = StandIn()
    recordings = {name: recording(name.encode()) for name in ("default", "other")}
    synthesizer = BatchingSynthesizer(
        lambda: engine, recordings, schedules,
        max_batch=8, cached_voices=2, admission=lambda rows: admission, now_s=clock,
    )  # fmt: skip
    await synthesizer.start()
    engine.batches.clear()
    yield synthesizer, engine
    synthesizer.close()


async def test_before_it_is_ready_every_size_of_chunk_has_been_spoken_once(started):
    synthesizer, engine = started
    sizes = [4 + 3, 6 + 3, 10 + 3]  # with the lookahead; the last one sees nothing more
    warm_up = [*((size, False) for size in sizes), (10 + 3 - 1, True)]
    assert engine.chunks == [*warm_up, (TOKENS, True)]  # and the canary
    assert len(engine.threads) == 1
    assert (synthesizer.open_streams, len(engine.closed)) == (0, 2)


def chunk(*tokens: int) -> Chunk:
    return Chunk(tokens, last=False)


async def begun(engine: StandIn) -> None:
    """Wait until a step has."""
    while not engine.stepping:
        await asyncio.sleep(0.001)


async def test_chunks_that_arrive_during_a_step_share_the_next(started):
    synthesizer, engine = started
    streams = [await synthesizer.open(None) for _ in range(3)]
    answers = await asyncio.gather(*(s.synthesize(chunk(i)) for i, s in enumerate(streams)))
    assert answers == [b"\x00", b"\x01", b"\x02"]
    assert sum(engine.batches) == 3
    assert len(engine.batches) <= 2
    assert len(engine.threads) == 1


async def test_an_answer_is_cut_by_how_many_streams_it_begins_beside(started):
    synthesizer, _ = started
    streams = [await synthesizer.open(None) for _ in range(3)]
    assert [stream.schedule for stream in streams] == [SCHEDULE, SCHEDULE, BUSY]


async def test_one_stream_too_many_is_refused_until_another_ends(started):
    synthesizer, _ = started
    streams = [await synthesizer.open(None) for _ in range(3)]
    with pytest.raises(ServerFull) as refused:
        await synthesizer.open(None)
    assert refused.value.reason == "memory"
    assert "memory" in refused.value.message
    streams[0].close()
    streams[0].close()
    assert synthesizer.open_streams == 2
    await synthesizer.open(None)


async def test_chunks_that_come_in_one_after_another_share_a_step(started, monkeypatch):
    for name in ("QUIET_S", "HELD_AT_MOST_S"):  # longer than this machine may take for a turn
        monkeypatch.setattr(f"deployments.token2wav.schedule.{name}", 0.3)
    synthesizer, engine = started
    streams = [await synthesizer.open(None) for _ in range(3)]
    first = asyncio.create_task(streams[0].synthesize(chunk(1)))
    await asyncio.sleep(0)
    second = asyncio.create_task(streams[1].synthesize(chunk(2)))
    await asyncio.gather(first, second)
    assert engine.batches == [2]


async def test_a_stream_that_no_time_is_left_for_is_refused(started, admission, clock):
    synthesizer, _ = started
    stream = await synthesizer.open(None)
    for _ in range(8):
        admission.note_step(rows=8, speech_s=8.0, took_s=8 * 0.2, now_s=clock())
    with pytest.raises(ServerFull) as refused:
        await synthesizer.open(None)
    assert refused.value.reason == "time"
    assert "time" in refused.value.message
    (await synthesizer.open(None, streamed=False)).close()  # nobody hears it while it is made
    assert synthesizer.open_streams == 1
    stream.close()
    await synthesizer.open(None)


async def test_a_stream_is_refused_while_somebody_hears_a_gap(started, monkeypatch):
    monkeypatch.setattr("deployments.token2wav.schedule.QUIET_S", 0.0)  # a step starts at once
    synthesizer, engine = started
    stream, blocker = await synthesizer.open(None), await synthesizer.open(None)
    await stream.synthesize(chunk(*[1] * 4800))  # 4800 bytes of PCM play for 100 ms
    engine.may_end.clear()
    in_step = asyncio.create_task(blocker.synthesize(chunk(2)))
    await begun(engine)
    kept_waiting = asyncio.create_task(stream.synthesize(chunk(1)))
    await asyncio.sleep(0.15)
    with pytest.raises(ServerFull):
        await synthesizer.open(None)
    engine.may_end.set()
    await asyncio.gather(kept_waiting, in_step)
    await synthesizer.open(None)


async def test_a_stream_that_is_late_for_want_of_tokens_refuses_nobody(started, monkeypatch):
    monkeypatch.setattr("deployments.token2wav.schedule.QUIET_S", 0.0)  # a step starts at once
    synthesizer, engine = started
    stream, blocker = await synthesizer.open(None), await synthesizer.open(None)
    await stream.synthesize(chunk(1))
    await asyncio.sleep(0.01)  # all that was sent has been played
    engine.may_end.clear()
    in_step = asyncio.create_task(blocker.synthesize(chunk(2)))
    await begun(engine)
    late = asyncio.create_task(stream.synthesize(chunk(1)))
    await asyncio.sleep(0.01)
    await synthesizer.open(None)
    engine.may_end.set()
    await asyncio.gather(late, in_step)


async def test_a_stream_cancelled_in_a_step_gives_its_place_back(started):
    synthesizer, engine = started
    stream = await synthesizer.open(None)
    engine.may_end.clear()
    task = asyncio.create_task(stream.synthesize(chunk(1)))
    await begun(engine)
    task.cancel()
    stream.close()
    engine.may_end.set()
    await asyncio.sleep(3 * STEP_S)
    assert len(engine.closed) == 3  # the warm-up's stream, the canary's and this one
    other = await synthesizer.open(None)
    assert await other.synthesize(chunk(5)) == b"\x05"


async def test_a_token_outside_the_codebook_harms_nobody_else(started):
    synthesizer, engine = started
    good, bad = await synthesizer.open(None), await synthesizer.open(None)
    answers = await asyncio.gather(
        good.synthesize(chunk(7)), bad.synthesize(chunk(100)), return_exceptions=True
    )
    assert answers[0] == b"\x07"
    assert isinstance(answers[1], ValueError)
    assert engine.batches == [1]


async def test_a_failed_step_is_an_error_for_its_streams_and_the_next_step_runs(started):
    synthesizer, engine = started
    stream = await synthesizer.open(None)
    engine.fails = True
    with pytest.raises(EngineFailed):
        await stream.synthesize(chunk(1))
    engine.fails = False
    again = await synthesizer.open(None)
    assert await again.synthesize(chunk(2)) == b"\x02"
    await synthesizer.check_health()


async def test_an_engine_whose_every_step_fails_is_unhealthy(started):
    synthesizer, engine = started
    engine.fails = True
    for _ in range(3):
        await synthesizer.check_health()
        stream = await synthesizer.open(None)
        with pytest.raises(EngineFailed):
            await stream.synthesize(chunk(1))
        stream.close()
    with pytest.raises(EngineFailed):
        await synthesizer.check_health()


async def test_a_stream_that_turns_non_finite_fails_alone(started):
    synthesizer, engine = started
    streams = [await synthesizer.open(None) for _ in range(3)]
    engine.broken = {f"default-{engine.opened}"}  # the last one
    answers = await asyncio.gather(
        *(stream.synthesize(chunk(5)) for stream in streams), return_exceptions=True
    )
    assert answers[:2] == [b"\x05", b"\x05"]
    assert isinstance(answers[2], EngineFailed)
    await synthesizer.check_health()


async def test_an_engine_that_makes_no_finite_stream_is_unhealthy(started):
    synthesizer, engine = started
    for _ in range(3):
        await synthesizer.check_health()
        stream = await synthesizer.open(None)
        engine.broken = {f"default-{engine.opened}"}
        with pytest.raises(EngineFailed):
            await stream.synthesize(chunk(1))
        stream.close()
    with pytest.raises(EngineFailed, match="not finite"):
        await synthesizer.check_health()


async def test_streams_that_turn_non_finite_between_good_ones_leave_the_engine_healthy(started):
    synthesizer, engine = started
    for turn in range(6):
        stream = await synthesizer.open(None)
        engine.broken = {f"default-{engine.opened}"} if turn % 2 else set()
        await asyncio.gather(stream.synthesize(chunk(1)), return_exceptions=True)
        stream.close()
    await synthesizer.check_health()


async def test_an_idle_engine_that_answers_otherwise_than_at_start_is_unhealthy(started, clock):
    synthesizer, engine = started
    await synthesizer.check_health()
    engine.off_by = 90
    clock.ahead_s += INTERVAL_S + 1
    with pytest.raises(EngineFailed, match="another sound"):
        await synthesizer.check_health()
    engine.off_by = 0
    clock.ahead_s += INTERVAL_S + 1
    with pytest.raises(EngineFailed, match="another sound"):  # it is not trusted again
        await synthesizer.check_health()


async def test_an_idle_engine_whose_answer_is_not_finite_is_unhealthy(started, clock):
    synthesizer, engine = started
    engine.broken = {f"default-{engine.opened + 1}"}
    clock.ahead_s += INTERVAL_S + 1
    with pytest.raises(EngineFailed, match="finite"):
        await synthesizer.check_health()


async def test_the_canary_is_heard_at_most_every_few_seconds(started, clock):
    synthesizer, engine = started
    engine.chunks.clear()
    for _ in range(5):
        await synthesizer.check_health()
    assert engine.chunks == []
    for _ in range(2):
        clock.ahead_s += INTERVAL_S + 1
        await synthesizer.check_health()
    assert engine.chunks == [(TOKENS, True)] * 2


async def test_the_canary_is_silent_while_a_listener_needs_the_engine(started, clock):
    synthesizer, engine = started
    stream = await synthesizer.open(None)  # it has no sound yet
    clock.ahead_s += INTERVAL_S + 1
    engine.chunks.clear()
    await synthesizer.check_health()
    assert engine.chunks == []
    await stream.synthesize(chunk(*[1] * 48_000))  # 1 s of sound: now it is far ahead
    await synthesizer.check_health()
    assert engine.chunks[-1] == (TOKENS, True)
    stream.close()


async def test_a_configured_voice_that_cannot_be_used_is_named_at_start():
    class Choosy(StandIn):
        def encode_voice(self, data: bytes) -> str:
            raise VoiceUnusable("embedding is not finite")

    synthesizer = BatchingSynthesizer(
        Choosy, {"default": recording(b"")}, schedules,
        max_batch=8, cached_voices=2,
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"'default'.*voice.*embedding is not finite"):
        await synthesizer.start()


async def test_a_recording_is_encoded_while_steps_go_on(started):
    synthesizer, engine = started
    stream = await synthesizer.open(None)
    engine.may_encode.clear()
    newcomer = asyncio.create_task(synthesizer.open(ReferenceAudio(b"mine")))
    while b"mine" not in engine.prepared:
        await asyncio.sleep(0.001)
    assert await stream.synthesize(chunk(5)) == b"\x05"
    assert not newcomer.done()
    engine.may_encode.set()
    await newcomer


async def test_an_observer_hears_of_streams_steps_refusals_and_voices(clock):
    class Notes(Unobserved):
        def __init__(self):
            self.steps, self.open, self.refused, self.voices = [], [], [], 0

        def step_ended(self, step):
            self.steps.append(step)

        def stream_opened(self, open_streams):
            self.open.append(open_streams)

        def stream_closed(self, open_streams):
            self.open.append(open_streams)

        def stream_refused(self, reason):
            self.refused.append(reason)

        def voice_prepared(self, took_s):
            self.voices += 1

    engine, notes = StandIn(), Notes()
    synthesizer = BatchingSynthesizer(
        lambda: engine, {"default": recording(b"voice")}, schedules,
        max_batch=8, cached_voices=2, observer=notes, now_s=clock,
    )  # fmt: skip
    await synthesizer.start()
    assert (len(notes.steps), notes.open, notes.voices) == (4, [1, 0], 1)  # of the warm-up
    streams = [await synthesizer.open(None) for _ in range(3)]
    with pytest.raises(ServerFull):
        await synthesizer.open(None)
    engine.broken = {f"voice-{engine.opened}"}
    await asyncio.gather(*(one.synthesize(chunk(1, 2)) for one in streams), return_exceptions=True)
    synthesizer.close()
    assert notes.open[2:] == [1, 2, 3]
    assert notes.refused == ["memory"]
    made = notes.steps[4:]
    assert [chunk.tokens for step in made for chunk in step.chunks] == [2] * 3
    assert sum(step.broken for step in made) == 1
    assert all(step.began_s < step.ended_s and step.open_streams == 3 for step in made)


async def test_a_recording_is_prepared_once_for_all_that_bring_it(started):
    synthesizer, engine = started
    engine.prepared.clear()
    voice = ReferenceAudio(b"mine")
    streams = await asyncio.gather(*(synthesizer.open(voice) for _ in range(3)))
    assert engine.prepared == [b"mine"]
    for stream in streams:
        stream.close()
    for name in (b"two", b"three", b"mine"):  # the cache holds two
        (await synthesizer.open(ReferenceAudio(name))).close()
    assert engine.prepared == [b"mine", b"two", b"three", b"mine"]


async def test_an_uploaded_voice_is_the_recording_that_was_prepared(started):
    synthesizer, engine = started
    engine.prepared.clear()
    await synthesizer.prepare(ReferenceAudio(b"mine"))
    (await synthesizer.open(uploaded(b"mine"))).close()  # nothing is stored here: it reads nothing
    assert engine.prepared == [b"mine"]


async def test_an_uploaded_voice_that_cannot_be_read_leaves_nothing_behind(started):
    synthesizer, _ = started
    for _ in range(2):
        with pytest.raises(UnknownVoice, match="hers"):
            await synthesizer.open(uploaded(b"hers"))
    assert synthesizer.open_streams == 0


def uploaded(data: bytes) -> StoredVoice:
    sha256 = hashlib.sha256(data).hexdigest()
    return StoredVoice("voice_0", data.decode(), owner="", created_at=0, sha256=sha256)


async def test_a_recording_that_cannot_be_prepared_leaves_nothing_behind(started):
    synthesizer, engine = started
    for _ in range(2):
        with pytest.raises(AudioUnreadable):
            await synthesizer.open(ReferenceAudio(b"broken"))
    assert engine.prepared.count(b"broken") == 2
    assert synthesizer.open_streams == 0


async def test_named_voices_are_ready_and_others_unknown(started):
    synthesizer, engine = started
    assert synthesizer.voices() == ("default", "other")
    assert engine.prepared == [b"default", b"other"]
    with pytest.raises(UnknownVoice, match="nobody"):
        await synthesizer.open("nobody")


async def test_a_closed_synthesizer_is_unhealthy(started):
    synthesizer, _ = started
    synthesizer.close()
    await asyncio.sleep(0.01)
    with pytest.raises(EngineFailed):
        await synthesizer.check_health()


class CountingRunner(ThreadRunner):
    """Counts the calls of `close`, which a finalizer must find done."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.closed = 0

    def close(self) -> None:
        self.closed += 1
        super().close()


async def test_a_synthesizer_that_cannot_start_has_closed_its_threads():
    runners: list[CountingRunner] = []

    def runner(name: str) -> CountingRunner:
        runners.append(CountingRunner(name))
        return runners[-1]

    synthesizer = BatchingSynthesizer(
        StandIn, {"default": recording(b"broken")}, schedules,
        max_batch=8, cached_voices=2, runner=runner,
    )  # fmt: skip
    with pytest.raises(ConfigError):
        await synthesizer.start()
    assert [one.closed for one in runners] == [1, 1]


def test_a_thread_that_is_closed_twice_takes_its_lock_once():
    """A finalizer may close it again, in a collection within `submit`, which has the lock."""
    runner = ThreadRunner("test")
    runner.close()
    with runner._thread._shutdown_lock:
        runner.close()
