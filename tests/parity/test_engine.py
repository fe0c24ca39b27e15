"""The whole of Token2Wav, tokens to samples, against the engine that runs the official package."""

from pathlib import Path

import pytest
import torch

from deployments.chunker import Chunker, ChunkSchedule
from deployments.token2wav.contract import StepInput
from deployments.token2wav.functional.functional_engine import FunctionalEngine, PreparedVoice
from deployments.token2wav.reference import ReferenceEngine
from deployments.token2wav.voice_preparation import place_whole
from tests.unit.deployments.token2wav.samples import (
    make_tokens,
    make_wav,
    options,
    write_tiny_token2wav,
)

pytest.importorskip("cosyvoice2.flow.flow", reason="the official step-audio2 is not installed")

# Mels agree to 1e-5. The vocoder's phases grow to 10 000 rad, where float32 is coarse to 1e-3
# rad: at the amplitude of a sine (0.1) that is 1e-4 before the filter; 2e-4 was measured after it.
TOLERANCE = 5e-4
TYPICAL = 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_token2wav(tmp_path_factory.mktemp("token2wav"))


@pytest.fixture(scope="module")
def engines(folder: Path) -> tuple[FunctionalEngine, ReferenceEngine]:
    same = options(folder, seed=7)
    return FunctionalEngine.load(same), ReferenceEngine.load(same)


def prepared(engine: FunctionalEngine | ReferenceEngine, recording: bytes) -> PreparedVoice:
    return place_whole(engine.place_voice(engine.encode_voice(recording)))


def interleaved(engine: FunctionalEngine | ReferenceEngine) -> list[torch.Tensor]:
    """Two streams in two voices, in step, each past the point where its history is trimmed."""
    schedule = ChunkSchedule(ramp=(10, 20))
    voices = [prepared(engine, make_wav(s, pitch_hz=p)) for s, p in ((1.2, 130.0), (2.2, 210.0))]
    states = [engine.open(voice) for voice in voices]
    streams = []
    for index in range(2):
        chunker = Chunker(schedule)
        chunks = list(chunker.push(make_tokens(310, seed=index)))
        last = chunker.finish()
        assert last is not None
        streams.append([*chunks, last])
    pieces: list[list[torch.Tensor]] = [[], []]
    assert len(streams[0]) >= 13
    for pair in zip(*streams, strict=True):
        rows = [StepInput(s, c.tokens, c.last) for s, c in zip(states, pair, strict=True)]
        outputs = engine.step(rows)
        states = [output.state for output in outputs]
        for piece, output in zip(pieces, outputs, strict=True):
            piece.append(output.samples)
    return [torch.cat(piece) for piece in pieces]


def test_two_interleaved_streams_sound_as_in_the_official_package(
    engines: tuple[FunctionalEngine, ReferenceEngine],
) -> None:
    ours, theirs = (interleaved(engine) for engine in engines)
    for actual, expected in zip(ours, theirs, strict=True):
        assert actual.shape == expected.shape == (310 * 960,)
        assert expected.std() > 0.01
        difference = (actual - expected).abs()
        assert difference.max() <= TOLERANCE
        assert difference.quantile(0.99) <= TYPICAL


def test_a_whole_synthesis_sounds_as_in_the_official_package(
    engines: tuple[FunctionalEngine, ReferenceEngine],
) -> None:
    tokens, recording = make_tokens(60), make_wav(1.2)
    actual, expected = (e.synthesize(tokens, prepared(e, recording)) for e in engines)
    assert actual.shape == expected.shape == (60 * 960,)
    assert (actual - expected).abs().max() <= TOLERANCE


def test_the_official_streams_are_values_too(
    engines: tuple[FunctionalEngine, ReferenceEngine],
) -> None:
    """Its package hands out views of its own buffers; here one stream survives another."""
    _, reference = engines
    voice = prepared(reference, make_wav(1.2))
    state = reference.step([StepInput(reference.open(voice), make_tokens(28), False)])[0].state
    row = StepInput(state, make_tokens(28, seed=1), False)
    before = reference.step([row])[0].samples
    other = reference.open(prepared(reference, make_wav(2.0, pitch_hz=240.0)))
    reference.step([StepInput(other, make_tokens(28, seed=2), False)])
    assert torch.equal(reference.step([row])[0].samples, before)
