"""The resident engine from tokens to PCM against the functional one, kernels interpreted."""

import gc
import logging
from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from deployments.errors import ServerFull, VoiceUnusable
from deployments.token2wav.contract import StepInput
from deployments.token2wav.functional import (
    Flow,
    FlowConfig,
    FlowInput,
    FlowSynthesizer,
    Hift,
    HiftConfig,
    HiftInput,
    HiftState,
    Vocoder,
)
from deployments.token2wav.functional import hift as published
from deployments.token2wav.functional.flow_config import DiTConfig, EncoderConfig

pytest.importorskip("triton")

from deployments.token2wav.resident.places import Place
from deployments.token2wav.resident.resident_engine import ResidentEngine
from deployments.token2wav.resident.resident_sizes import ResidentSizes
from deployments.token2wav.resident.streams import ResidentStream, ResidentVoice
from deployments.token2wav.token2wav_config import GpuMemory
from deployments.token2wav.voice_preparation import place_whole
from tests.unit.deployments.token2wav_resident.collector import collect_anywhere_in

CPU = torch.device("cpu")
CONFIG = FlowConfig(
    input_size=32, output_size=16, spk_embed_dim=8, vocab_size=50,
    encoder=EncoderConfig(input_size=32, output_size=32, num_blocks=1, num_up_blocks=1,
                          attention_heads=2, linear_units=32),
    dit=DiTConfig(in_channels=64, out_channels=16, depth=1, num_heads=2, head_dim=16,
                  hidden_size=32, mlp_ratio=2.0),
)  # fmt: skip
SIZES = ResidentSizes(
    gpu=GpuMemory(memory_gb=14 / 1024, history_s=4, resident_voices=2),
    max_batch=2, chunk_frames=(4,), voice_tokens=(25, 25), longest_voice_tokens=30,
)  # fmt: skip


@dataclass
class Prompt:
    codes: Tensor
    embedding: Tensor
    mel: Tensor


def random_prompt(codes: int) -> Prompt:
    return Prompt(torch.randint(50, (codes,)), torch.randn(8), torch.randn(2 * codes, 16))


@pytest.fixture(scope="module")
def networks() -> tuple[Flow, Hift]:
    torch.manual_seed(2)
    flow = Flow(CONFIG).eval().requires_grad_(False)
    with pytest.MonkeyPatch.context() as patch:
        # the published 7 and 11 taps are `test_vocoder`'s: the interpreter's time goes by taps
        patch.setattr(published, "_RES_KERNELS", (3, 3, 3))
        patch.setattr(published, "_SOURCE_RES_KERNELS", (3, 3, 3))
        hift = Hift(HiftConfig(mels=16, base_channels=32, f0_channels=16))
    hift.eval().requires_grad_(False)
    hift.fold_weight_norm()
    hift.f0_predictor.classifier.bias.fill_(150.0)  # voiced
    return flow, hift


def new_engine(
    networks: tuple[Flow, Hift], steps: int, sizes: ResidentSizes = SIZES
) -> ResidentEngine:
    return ResidentEngine(
        *networks, None, seed=0, device=CPU, dtype=torch.float32, sizes=sizes, steps=steps
    )


@pytest.fixture
def engine(networks: tuple[Flow, Hift]) -> ResidentEngine:
    return new_engine(networks, steps=1)  # the interpreter's time goes by steps


def test_streams_of_two_voices_sound_as_the_functional_engine(
    networks: tuple[Flow, Hift],
) -> None:
    flow, hift = networks
    engine = new_engine(networks, steps=2)
    synthesizer = FlowSynthesizer(flow, seed=0, steps=2)
    vocoder = Vocoder(hift, seed=0)
    prompts = [random_prompt(5), random_prompt(9)]
    streams = [engine.open(place_whole(engine.place_voice(p))) for p in prompts]
    flow_states = [synthesizer.prepare(p.codes, p.embedding, p.mel) for p in prompts]
    sound_states = [HiftState.empty(hift) for _ in prompts]

    def step(chosen: list[int], tokens: list[list[int]], last: list[bool]) -> None:
        engine._shapes._arena.memory.fill_(255)  # no number in any buffer
        rows = [StepInput(streams[i], t, e) for i, t, e in zip(chosen, tokens, last, strict=True)]
        outputs = engine.step(rows)
        inputs = [
            FlowInput(torch.tensor(t), e, flow_states[i])
            for i, t, e in zip(chosen, tokens, last, strict=True)
        ]
        mels, states = synthesizer.step(inputs)
        sounds, held = vocoder.step(
            [HiftInput(m, e, sound_states[i]) for i, m, e in zip(chosen, mels, last, strict=True)]
        )
        for at, i in enumerate(chosen):
            flow_states[i], sound_states[i] = states[at], held[at]
            got = np.frombuffer(outputs[at].pcm, "<i2") / 32767.0
            np.testing.assert_allclose(got, sounds[at].numpy(), atol=3e-3)
            assert outputs[at].state is streams[i]

    step([0, 1], [[1, 2, 3, 4, 5], [9, 8, 7, 6]], [False, False])
    step([1], [[30, 31]], [True])
    step([0], [[3, 4, 5, 6]], [False])


def test_a_stream_that_is_closed_or_forgotten_gives_its_place_back(engine: ResidentEngine) -> None:
    voice = place_whole(engine.place_voice(random_prompt(5)))
    before = engine.free
    stream = engine.open(voice)
    assert engine.free != before
    engine.close(stream)
    engine.close(stream)
    assert engine.free == before
    assert engine.step([StepInput(stream, [1, 2, 3, 4], False)])[0].pcm == b""
    stream = engine.open(voice)
    del stream
    assert engine.free == before


def test_a_stream_found_forgotten_while_another_opens_blocks_nobody(
    engine: ResidentEngine,
) -> None:
    voice = place_whole(engine.place_voice(random_prompt(5)))
    before = engine.free
    collect_anywhere_in(lambda: engine.open(voice), forget=lambda: engine.open(voice))
    gc.collect()
    assert engine.free == before


def test_a_voice_found_forgotten_while_room_is_made_disturbs_nobody(
    engine: ResidentEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_prepare", lambda voice, place: iter(()))
    before = engine.free

    def voice() -> ResidentVoice:
        return place_whole(engine.place_voice(random_prompt(5)))

    def many() -> list[ResidentVoice]:
        return [voice() for _ in range(40)]

    waiting = many()
    collect_anywhere_in(many, forget=voice)
    del waiting
    gc.collect()
    assert engine.free == before


def test_no_more_streams_open_than_memory_holds(engine: ResidentEngine) -> None:
    voice = place_whole(engine.place_voice(random_prompt(25)))
    streams = []
    with pytest.raises(ServerFull):
        for _ in range(1000):
            streams.append(engine.open(voice))
    assert len(streams) >= engine.max_streams
    engine.close(streams.pop())
    streams.append(engine.open(voice))


def test_a_start_says_how_many_streams_fit_and_why(
    networks: tuple[Flow, Hift], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="deployments")
    wanted = replace(SIZES, voice_tokens=(25, 30), max_streams=1000)
    engine = new_engine(networks, steps=1, sizes=wanted)
    said, warned = caplog.messages
    assert f"hold {engine.max_streams} streams in a voice of 1.0 s" in said
    assert "(gpu.memory_gb)" in said
    assert "max_streams is 1000" in warned


def test_a_voice_without_streams_gives_way_and_comes_back(engine: ResidentEngine) -> None:
    first = place_whole(engine.place_voice(random_prompt(5)))
    one = engine.open(first)
    heard = engine.step([StepInput(one, [1, 2, 3, 4], False)])[0].pcm
    engine.close(one)
    voice = place_whole(engine.place_voice(random_prompt(5)))
    streams = []
    with pytest.raises(ServerFull):
        for _ in range(1000):
            streams.append(engine.open(voice))
    assert first.place is None
    for stream in streams:
        engine.close(stream)
    again = engine.open(first)
    assert engine.step([StepInput(again, [1, 2, 3, 4], False)])[0].pcm == heard


def resident_memory(engine: ResidentEngine, place: Place | None = None) -> list[Tensor]:
    """A copy of what the flow has in `place`, or of all of it."""
    solver, encoder = engine._model.solver_pool, engine._model.encoder_pool
    everything = slice(None)
    blocks = everything if place is None else place.solver_blocks
    tokens = everything if place is None else place.encoder_blocks
    slots = everything if place is None else place.slots
    parts = (
        solver.history[:, :, blocks], solver.conv[:, :, :, :, slots], solver.speakers[slots],
        encoder.attention[:, tokens], encoder.up_attention[:, tokens],
        encoder.lookahead[slots], encoder.upsample[slots],
    )  # fmt: skip
    return [part.clone() for part in parts]


def equal(some: list[Tensor], others: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


def test_a_voice_is_bit_for_bit_the_same_with_steps_between_its_pieces(
    networks: tuple[Flow, Hift], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, prompt = new_engine(networks, steps=2), random_prompt(5)
    # the vocoder, long in the interpreter, has no part in voices
    monkeypatch.setattr(engine._model, "vocode", lambda buffers, rows: None)
    whole = place_whole(engine.place_voice(prompt))
    expected, stream = resident_memory(engine, whole.place), engine.open(whole)
    voices: list[ResidentVoice] = []

    def pieces() -> Generator[None, None, None]:
        voices.append((yield from engine.place_voice(prompt)))

    steps = 0
    for _ in pieces():
        engine._shapes._arena.memory.fill_(255)  # no number in any buffer of the steps
        engine.step([StepInput(stream, [1, 2, 3, 4], False)])
        steps += 1
    (voice,) = voices
    assert steps == 2  # between the encoder and the first Euler step, and before the second
    assert voice.prepared
    assert equal(resident_memory(engine, voice.place), expected)


def test_a_voice_that_gives_way_between_its_pieces_writes_no_more(
    engine: ResidentEngine,
) -> None:
    other = place_whole(engine.place_voice(random_prompt(5)))
    pieces = engine.place_voice(random_prompt(5))
    next(pieces)
    streams = []
    with pytest.raises(ServerFull):
        for _ in range(1000):
            streams.append(engine.open(other))
    before = resident_memory(engine)
    voice = place_whole(pieces)
    assert voice.place is None and not voice.prepared  # a stream's first step will do it
    assert equal(resident_memory(engine), before)  # others may have what was its place


def spoil(engine: ResidentEngine, stream: ResidentStream) -> None:
    """No number in any memory that is the stream's own."""
    model, place = engine._model, stream.place
    model.solver_pool.history[:, :, place.solver_blocks] = torch.nan
    model.solver_pool.conv[:, :, :, :, place.slots] = torch.nan
    for blocks in (model.encoder_pool.attention, model.encoder_pool.up_attention):
        blocks[:, place.encoder_blocks] = torch.nan
    encoder, vocoder = model.encoder_pool, model.vocoder_pool
    for slots in (
        encoder.lookahead, encoder.upsample, vocoder.mel, vocoder.source, vocoder.samples,
    ):  # fmt: skip
        slots[place.slots] = torch.nan


def sound(pcm: bytes) -> np.ndarray:
    return np.frombuffer(pcm, "<i2") / 32767.0


def test_a_stream_that_turns_non_finite_fails_alone_and_leaves_nothing_behind(
    engine: ResidentEngine,
) -> None:
    voice = place_whole(engine.place_voice(random_prompt(5)))
    chunks = [([1, 2, 3, 4, 5], False), ([9, 8], True)]
    sick, healthy = engine.open(voice), engine.open(voice)
    heard = [engine.step([StepInput(sick, *chunks[0]), StepInput(healthy, *chunks[0])])[1]]
    spoil(engine, sick)
    failed, well = engine.step([StepInput(sick, *chunks[1]), StepInput(healthy, *chunks[1])])
    heard.append(well)
    assert well.pcm
    assert not failed.finite and failed.pcm == b""
    assert all(output.finite for output in heard)

    engine.close(sick)
    follower = engine.open(voice)  # in the same memory, which nobody has cleared
    assert set(follower.place.solver_blocks) == set(sick.place.solver_blocks)
    for chunk, expected in zip(chunks, heard, strict=True):
        (output,) = engine.step([StepInput(follower, *chunk)])
        assert output.finite
        np.testing.assert_allclose(sound(output.pcm), sound(expected.pcm), atol=3e-3)


def test_a_voice_that_is_no_number_is_refused_and_its_memory_spoils_no_other(
    engine: ResidentEngine,
) -> None:
    good, bad = random_prompt(5), random_prompt(5)
    bad.mel[3, 2] = torch.nan
    before = engine.free
    with pytest.raises(VoiceUnusable):
        place_whole(engine.place_voice(bad))
    assert engine.free == before
    outputs = []
    for _ in range(2):  # the first one in the memory of the bad voice
        stream = engine.open(place_whole(engine.place_voice(good)))
        outputs += engine.step([StepInput(stream, [1, 2], True)])
    assert outputs[0].finite and outputs[0].pcm
    np.testing.assert_array_equal(sound(outputs[0].pcm), sound(outputs[1].pcm))


def test_a_voice_that_cannot_be_prepared_again_fails_its_own_streams(
    engine: ResidentEngine,
) -> None:
    well = engine.open(place_whole(engine.place_voice(random_prompt(5))))
    voice = place_whole(engine.place_voice(random_prompt(5)))
    sick = engine.open(voice)
    voice.prepared, voice.mel = False, voice.mel * torch.nan  # as after it gave way
    failed, other = engine.step([StepInput(sick, [1, 2], True), StepInput(well, [1, 2], True)])
    assert not failed.finite and failed.pcm == b""
    assert other.finite and sound(other.pcm).any()


def test_an_unfit_chunk_is_refused_before_anything_happens(engine: ResidentEngine) -> None:
    stream = engine.open(place_whole(engine.place_voice(random_prompt(5))))
    for tokens, last in (([1, 2, 3], False), ([], True), ([1, 50, 1, 1], False)):
        with pytest.raises(ValueError, match="token"):
            engine.step([StepInput(stream, tokens, last)])
    assert stream.steps == 0
    row = StepInput(stream, [1, 2, 3, 4], False)
    with pytest.raises(ValueError, match="two chunks"):
        engine.step([row, row])
