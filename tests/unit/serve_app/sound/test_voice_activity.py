"""Silero's model, the edges of speech, and their borders."""

import subprocess
import sys
import time

import numpy as np
import onnxruntime
import pytest

from serve_app.sound.voice_activity import (
    FRAME_SAMPLES,
    RATE_HZ,
    Edge,
    SileroState,
    SpeechRule,
    SpeechState,
    find_edges,
    shared_model,
    tighten,
)
from serve_app.sound.voice_activity.silero import MODEL
from tests.nano.with_pauses import with_pauses

RULE = SpeechRule(silence_ms=96)  # three frames


def test_the_model_tells_speech_from_silence() -> None:
    spoken = with_pauses(3)
    samples = spoken.samples[: len(spoken.samples) // FRAME_SAMPLES * FRAME_SAMPLES]
    found, _ = shared_model().probabilities(samples, SileroState())
    second = np.arange(len(found)) * FRAME_SAMPLES / RATE_HZ
    for sentence in spoken.sentences:
        inside = (sentence.start_s + 0.1 < second) & (second < sentence.end_s - 0.1)
        before = (sentence.start_s - 0.4 < second) & (second < sentence.start_s - 0.1)
        assert found[inside].mean() > 0.8
        assert found[before].max() < 0.2


def test_a_stream_gives_what_the_whole_gives() -> None:
    samples = with_pauses(2).samples[: 160 * FRAME_SAMPLES]
    whole, _ = shared_model().probabilities(samples, SileroState())
    state, pieces = SileroState(), []
    for start, stop in ((0, 1), (1, 4), (4, 4), (4, 150), (150, 160)):
        piece = samples[start * FRAME_SAMPLES : stop * FRAME_SAMPLES]
        found, state = shared_model().probabilities(piece, state)
        pieces.append(found)
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6)


def test_two_interleaved_streams_do_not_mix() -> None:
    samples = with_pauses(2).samples[: 100 * FRAME_SAMPLES]
    one, other = samples, np.random.default_rng(0).standard_normal(len(samples), np.float32) / 10
    alone = [shared_model().probabilities(sound, SileroState())[0] for sound in (one, other)]
    states = [SileroState(), SileroState()]
    found: list[list[np.ndarray]] = [[], []]
    for start in range(0, len(samples), 10 * FRAME_SAMPLES):
        for i, sound in enumerate((one, other)):
            piece = sound[start : start + 10 * FRAME_SAMPLES]
            probabilities, states[i] = shared_model().probabilities(piece, states[i])
            found[i].append(probabilities)
    for together, by_itself in zip(found, alone, strict=True):
        np.testing.assert_allclose(np.concatenate(together), by_itself, atol=1e-6)


def test_several_recordings_at_once_give_what_the_files_own_graph_gives() -> None:
    """The file takes one recording; frame by frame, each with the 64 samples before it."""
    model = shared_model()
    sounds = np.stack([with_pauses(2).samples[start : start + 512 * 60] for start in (0, 9, 9999)])
    states = [SileroState() for _ in sounds]
    found = []
    for stop in (512, 512 * 40, 512 * 60):
        piece = sounds[:, sum(each.shape[1] for each in found) * 512 : stop]
        probabilities, states = model.step(piece, states)
        found.append(probabilities)
    session = onnxruntime.InferenceSession(str(MODEL))
    zero = np.zeros((1, 1, 128), np.float32)
    for sound, together in zip(sounds, np.concatenate(found, axis=1), strict=True):
        behind = np.concatenate((np.zeros(64, np.float32), sound))
        frames = np.lib.stride_tricks.sliding_window_view(behind, 576)[::512]
        alone, _, _ = session.run(None, {"input": frames, "h": zero, "c": zero})
        np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_session_takes_less_than_four_thousandths_of_a_core() -> None:
    """With twenty of them; a frame is 32 ms. The best of many calls: others use the core, too."""
    samples = np.tile(with_pauses(2).samples[: 3 * FRAME_SAMPLES], (20, 1))
    states, times = [SileroState()] * 20, []
    for _ in range(30):
        began = time.thread_time()
        _, states = shared_model().step(samples, states)
        times.append((time.thread_time() - began) / samples.size * FRAME_SAMPLES)
    assert min(times) < 0.004 * 0.032


def test_voice_activity_imports_no_torch() -> None:
    script = (
        "import sys; from serve_app.sound.voice_activity import shared_model; shared_model(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@pytest.mark.parametrize(
    ("probabilities", "edges"),
    [
        ([0.1, 0.6, 0.9, 0.1, 0.1, 0.1], [Edge("start", 1), Edge("end", 3)]),
        ([0.9, 0.1, 0.1, 0.9, 0.1], [Edge("start", 0)]),  # the pause is too short
        ([0.9, 0.4, 0.4, 0.4, 0.4], [Edge("start", 0)]),  # not silent enough to end
        ([0.4, 0.4], []),  # not loud enough to begin
        ([0.9, 0.1, 0.4, 0.4, 0.1], [Edge("start", 0), Edge("end", 1)]),
    ],
)
def test_speech_begins_and_ends_with_hysteresis(
    probabilities: list[float], edges: list[Edge]
) -> None:
    assert find_edges(probabilities, SpeechState(), RULE)[0] == edges


def test_edges_of_a_stream_are_those_of_the_whole() -> None:
    probabilities = np.random.default_rng(1).random(500).tolist()
    whole, last = find_edges(probabilities, SpeechState(), RULE)
    state, found = SpeechState(), []
    for start in range(0, 500, 7):
        edges, state = find_edges(probabilities[start : start + 7], state, RULE)
        found += edges
    assert (found, state) == (whole, last)
    assert len(whole) > 20


def test_borders_are_tightened_to_the_sound() -> None:
    samples = np.zeros(16_000, np.float32)
    samples[5_000:10_000] = 0.1
    start, end = tighten(samples, 5_000 + 900, 10_000 + 1_500)
    assert abs(start - 5_000) <= 160 and abs(end - 10_000) <= 160


def test_borders_stay_where_loudness_says_nothing() -> None:
    noise = np.random.default_rng(0).standard_normal(16_000, np.float32)
    assert tighten(noise, 5_000, 10_000) == (5_000, 10_000)
