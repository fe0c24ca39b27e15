"""The client against a server whose pace is known."""

import base64
from itertools import islice

import pytest

from serve_app.bench.client import BenchClient, Target, prepare
from serve_app.bench.inputs import TEXTS, SpeechInput, TextInput, mix, recordings, texts
from serve_app.bench.load import ClosedLoop, Extent, Poisson, poisson_times
from serve_app.bench.measures import Arrival, RequestTrace
from serve_app.bench.overhead import held_at, measure_overhead
from serve_app.bench.speech import Level, Workload, bench_speech
from tests.unit.serve_app.bench.fake_server import Script, serving

HEARD = recordings((), seed=0)


async def measure(script: Script, arrivals: ClosedLoop | Poisson, **changes: object) -> Level:
    settings: dict = {"extent": Extent(requests=6), "speech_share": 0.0, "warm_up": 0} | changes
    workload = Workload(texts=texts(), recordings=HEARD, **settings)
    async with serving(script) as base_url:
        target = Target(base_url, model="m", voice="v")
        result = await bench_speech(target, workload, [arrivals], own_overhead=False)
    return result.levels[0]


async def one(script: Script, what: TextInput | SpeechInput, **target: object) -> RequestTrace:
    async with serving(script) as base_url:
        chosen = Target(base_url, model="m", **target)  # type: ignore[arg-type]
        async with BenchClient(chosen) as client:
            return await client.send(prepare(chosen, what))


async def test_a_steady_server_has_the_known_figures() -> None:
    script = Script(first_after_s=0.15, pieces=4, piece_s=0.25, pace_s=0.1)
    level = await measure(script, ClosedLoop(2))
    s = level.summary

    assert (s.requests, s.failed, s.outcomes) == (6, 0, {"ok": 6})
    assert s.audio_s == pytest.approx(6.0)
    assert s.ttfa_s and 0.15 <= s.ttfa_s.p50 < 0.35
    assert s.latency_s and 0.45 <= s.latency_s.p50 < 0.9
    assert s.rtf and s.rtf.p50 == pytest.approx(s.latency_s.p50, abs=0.05)  # 1 s of audio each
    assert s.gap_s and 0.08 <= s.gap_s.p50 < 0.2
    assert (s.underruns, s.requests_without_underrun) == (0, 1.0)
    # three rounds of two seconds of audio each
    assert s.audio_s_per_s == pytest.approx(6.0 / s.window_s)
    assert 1.35 <= s.window_s < 3.0


async def test_a_server_slower_than_playback_underruns_at_every_later_piece() -> None:
    script = Script(pieces=3, piece_s=0.02, pace_s=0.3)
    level = await measure(script, ClosedLoop(2), extent=Extent(requests=2))
    assert level.summary.underruns == 2 * 2
    # silence is whatever of the time between first and last byte the first two pieces do not fill
    heard = [trace.arrivals[-1].at_s - trace.arrivals[0].at_s for trace in level.traces]
    assert level.summary.stalled_s == pytest.approx(sum(heard) - 2 * 2 * 0.02)
    assert level.summary.requests_without_underrun == 0.0


async def test_a_prebuffer_hides_a_server_that_is_a_little_slow() -> None:
    script = Script(pieces=3, piece_s=0.3, pace_s=0.4)
    level = await measure(script, ClosedLoop(1), extent=Extent(requests=1), prebuffer_s=0.6)
    assert level.summary.underruns == 0


async def test_refusals_are_counted_by_status() -> None:
    level = await measure(Script(refuse_every=3), ClosedLoop(1))
    assert level.summary.outcomes == {"ok": 4, "429": 2}
    assert level.summary.audio_s == pytest.approx(4 * 0.4)


async def test_a_torn_body_is_a_failure_although_audio_came() -> None:
    trace = await one(Script(break_after=2), TextInput("t", "hello"))
    assert trace.outcome.startswith("broken off")
    assert trace.audio_s > 0


async def test_a_server_that_is_not_there_is_a_failure() -> None:
    target = Target("http://127.0.0.1:9/v1", model="m")
    async with BenchClient(target) as client:
        trace = await client.send(prepare(target, TextInput("t", "hello")))
    assert trace.outcome == "no connection"


async def test_an_answer_without_audio_is_a_failure() -> None:
    trace = await one(Script(pieces=0), TextInput("t", "hello"))
    assert trace.outcome == "no audio"


async def test_chat_audio_is_counted_to_the_sample() -> None:
    script = Script(pieces=3, piece_s=0.1001, pace_s=0.05)  # 4805 bytes: not a multiple of 3
    trace = await one(script, HEARD[0])
    assert trace.outcome == "ok"
    assert trace.audio_s == pytest.approx(3 * 4805 / 48_000, abs=1e-9)
    assert len(trace.arrivals) == 3


async def test_an_error_event_after_audio_is_a_failure() -> None:
    trace = await one(Script(stream_error=True), HEARD[0])
    assert trace.outcome == "error in the stream"


LOGIN_PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>" * 40
JSON_ERROR = b'{"error": {"message": "no such voice", "type": "server_error"}}'
WAV = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + bytes(5_000)
NO_PCM = {
    "a login page": (LOGIN_PAGE, "text/html; charset=utf-8", "text/html in place of PCM"),
    "a login page as sound": (LOGIN_PAGE, "audio/pcm", "text in place of PCM"),
    "a page without a type": (LOGIN_PAGE, None, "text in place of PCM"),
    "an error": (JSON_ERROR, "application/json", "application/json in place of PCM"),
    "an error as sound": (JSON_ERROR, "application/octet-stream", "text in place of PCM"),
    "Chinese": ("请登录。".encode() * 40, "audio/pcm", "text in place of PCM"),
    "an MP3": (b"ID3\x04" + bytes(5_000), "audio/pcm", "an MP3 file in place of PCM"),
    "an MP3 by type": (b"\xff\xfb" + bytes(5_000), "audio/mpeg", "audio/mpeg in place of PCM"),
    "an Ogg": (b"OggS" + bytes(5_000), "audio/pcm", "an Ogg file in place of PCM"),
    "a WAV": (WAV, "audio/wav", "a WAV file in place of PCM"),
    "half a sample": (bytes(5_001), "audio/pcm", "half a sample at the end"),
    "nothing": (b"", "audio/pcm", "no audio"),
}


@pytest.mark.parametrize("name", NO_PCM)
async def test_what_is_no_pcm_is_a_failure_and_named(name: str) -> None:
    body, content_type, outcome = NO_PCM[name]
    script = Script(body=body, content_type=content_type)
    level = await measure(script, ClosedLoop(1), extent=Extent(requests=1))
    assert level.summary.outcomes == {outcome: 1}
    assert (level.summary.failed, level.summary.requests_without_underrun) == (1, None)


async def test_what_a_server_says_in_place_of_sound_is_kept() -> None:
    trace = await one(Script(body=JSON_ERROR, content_type="audio/pcm"), TextInput("t", "hello"))
    assert trace.refusal == "no such voice"


@pytest.mark.parametrize("content_type", ["audio/pcm; rate=24000", "audio/L16", None, "Audio/PCM"])
async def test_pcm_under_any_name_for_it_is_sound(content_type: str | None) -> None:
    speech = b"\x20\x21" * 40 + b"\xe0\xff" * 40  # quiet, and partly what letters look like
    trace = await one(Script(content_type=content_type, sound=speech), TextInput("t", "hello"))
    assert trace.outcome == "ok"


@pytest.mark.parametrize(
    ("body", "content_type", "outcome"),
    [
        (JSON_ERROR, "application/json", "application/json in place of an event stream"),
        (LOGIN_PAGE, "text/html", "text/html in place of an event stream"),
        (JSON_ERROR, "text/event-stream", "stream without an end"),
    ],
)
async def test_a_chat_that_is_no_event_stream_is_a_failure(
    body: bytes, content_type: str, outcome: str
) -> None:
    trace = await one(Script(body=body, content_type=content_type), HEARD[0])
    assert trace.outcome == outcome


@pytest.mark.parametrize("sound", [WAV, LOGIN_PAGE])
async def test_a_chat_whose_sound_is_no_pcm_is_a_failure(sound: bytes) -> None:
    trace = await one(Script(sound=sound), HEARD[0])
    assert trace.outcome.endswith("in place of PCM")


async def test_each_level_is_handed_on_before_the_next_begins() -> None:
    script, seen = Script(), []
    workload = Workload(texts(), HEARD, 0.0, Extent(requests=2), warm_up=0)
    async with serving(script) as base_url:
        await bench_speech(
            Target(base_url, model="m"),
            workload,
            [ClosedLoop(1), ClosedLoop(2)],
            own_overhead=False,
            on_level=lambda result: seen.append((len(result.levels), len(script.bodies))),
        )
    assert seen == [(1, 2), (2, 4)]


async def test_requests_say_what_openai_servers_expect() -> None:
    script = Script()
    await one(script, TextInput("t", "hello"), voice="v", extra_body={"seed": 7})
    await one(script, HEARD[0], voice="v", max_tokens=315)
    await one(script, TextInput("t", "hello"), texts_by_chat=True)
    (speech_path, speech), (chat_path, chat), (other_path, other) = script.bodies

    assert speech_path == "/v1/audio/speech"
    assert speech == {
        "model": "m",
        "input": "hello",
        "voice": "v",
        "response_format": "pcm",
        "stream": True,
        "seed": 7,
    }
    assert chat_path == other_path == "/v1/chat/completions"
    assert chat["modalities"] == ["text", "audio"]
    assert chat["audio"] == {"format": "pcm16", "voice": "v"}
    assert chat["max_completion_tokens"] == 315
    (part,) = chat["messages"][0]["content"]
    assert part["input_audio"]["format"] == "wav"
    assert base64.b64decode(part["input_audio"]["data"])[:4] == b"RIFF"
    assert other["messages"][0]["content"] == [{"type": "text", "text": "hello"}]


async def test_a_closed_loop_keeps_its_number_of_clients_busy() -> None:
    script = Script(first_after_s=0.05)
    await measure(script, ClosedLoop(5), extent=Extent(requests=15))
    assert script.most_in_flight == 5


async def test_warm_up_requests_are_sent_and_not_counted() -> None:
    script = Script()
    level = await measure(script, ClosedLoop(2), warm_up=None)
    assert level.summary.requests == 6
    assert len(script.bodies) == 6 + 2


async def test_poisson_arrivals_do_not_wait_for_answers() -> None:
    script = Script(first_after_s=0.5, pieces=1)
    level = await measure(script, Poisson(100.0), extent=Extent(requests=20))
    times = list(islice(poisson_times(100.0, seed=0), 20))
    sent = sorted(trace.sent_s for trace in level.traces)
    assert [at - sent[0] for at in sent] == pytest.approx(times, abs=0.1)
    assert script.most_in_flight > 15


async def test_a_duration_ends_the_arrivals_and_every_answer_is_awaited() -> None:
    script = Script(first_after_s=0.2, pieces=1)
    level = await measure(script, ClosedLoop(1), extent=Extent(duration_s=0.55))
    assert set(level.summary.outcomes) == {"ok"} and script.in_flight == 0
    start_s = level.traces[0].sent_s
    assert all(trace.sent_s - start_s < 0.55 for trace in level.traces)
    assert level.traces[-1].ended_s - start_s > 0.54  # until then there is always another one


def test_poisson_times_have_the_rate_and_follow_the_seed() -> None:
    times = list(islice(poisson_times(8.0, seed=1), 4001))
    assert times[0] == 0.0
    assert times[-1] == pytest.approx(500, rel=0.05)
    assert times[:9] == list(islice(poisson_times(8.0, seed=1), 9))
    assert times[:9] != list(islice(poisson_times(8.0, seed=2), 9))


def test_the_mix_follows_seed_and_share() -> None:
    drawn = list(islice(mix(texts(), HEARD, 0.25, seed=3), 2000))
    heard = sum(isinstance(what, SpeechInput) for what in drawn)
    assert heard == pytest.approx(500, abs=80)
    assert drawn == list(islice(mix(texts(), HEARD, 0.25, seed=3), 2000))
    assert {what.text for what in drawn if isinstance(what, TextInput)} == set(TEXTS)


def test_a_load_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="number of requests or a duration"):
        Extent()


def test_a_piece_is_held_once_all_its_reads_came() -> None:
    reads = [Arrival(1.0, 0.6), Arrival(1.1, 0.4), Arrival(2.0, 2.0)]
    assert held_at(reads, 1.0, 3) == [1.1, 2.0, 2.0]


async def test_the_clients_own_delay_is_small_beside_what_it_measures() -> None:
    found = await measure_overhead(16)
    assert 0 < found.delay_s.p50 < 0.05
    assert found.streams == 16
