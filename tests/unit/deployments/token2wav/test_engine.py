"""Streams: alone, interleaved, batched, and against the whole."""

import dataclasses
from collections.abc import Sequence

import pytest
import torch

from deployments.chunker import Chunk, Chunker, ChunkSchedule
from deployments.errors import AudioUnreadable, ReferenceAudioUnfit, VoiceUnusable
from deployments.token2wav.functional.functional_engine import (
    FunctionalEngine,
    PreparedVoice,
    StepInput,
)
from tests.unit.deployments.token2wav.samples import load_functional, make_tokens, make_wav

SAMPLES_PER_TOKEN = 960
SCHEDULES = [
    ChunkSchedule(),
    ChunkSchedule(ramp=()),
    ChunkSchedule(ramp=(4, 6, 9, 27), steady=40),
]


def cut(tokens: Sequence[int], schedule: ChunkSchedule) -> list[Chunk]:
    chunker = Chunker(schedule)
    chunks = list(chunker.push(tokens))
    last = chunker.finish()
    assert last is not None
    return [*chunks, last]


def alone(
    engine: FunctionalEngine, voice: PreparedVoice, chunks: Sequence[Chunk]
) -> list[torch.Tensor]:
    state, pieces = engine.open(voice), []
    for chunk in chunks:
        output = engine.step([StepInput(state, chunk.tokens, chunk.last)])[0]
        state = output.state
        pieces.append(output.samples)
    return pieces


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 12, 13, 14, 28, 29, 57, 130])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_a_stream_has_960_samples_for_each_token(
    engine: FunctionalEngine, voices: list[PreparedVoice], schedule: ChunkSchedule, count: int
) -> None:
    pieces = alone(engine, voices[0], cut(make_tokens(count), schedule))
    samples = torch.cat(pieces)
    assert len(samples) == SAMPLES_PER_TOKEN * count
    assert samples.isfinite().all()


def test_a_first_chunk_shorter_than_the_overlap_loses_no_sample(
    engine: FunctionalEngine, voices: list[PreparedVoice]
) -> None:
    schedule = ChunkSchedule(ramp=(), steady=1)
    pieces = alone(engine, voices[0], cut(make_tokens(9), schedule))
    assert len(torch.cat(pieces)) == SAMPLES_PER_TOKEN * 9


@pytest.mark.parametrize("count", [1, 2, 50])
def test_a_whole_synthesis_has_960_samples_for_each_token(
    engine: FunctionalEngine, voices: list[PreparedVoice], count: int
) -> None:
    assert engine.synthesize(make_tokens(count), voices[1]).shape == (SAMPLES_PER_TOKEN * count,)


def test_a_batch_gives_every_stream_bit_for_bit_what_it_gives_alone(
    engine: FunctionalEngine, voices: list[PreparedVoice]
) -> None:
    """Voices, histories, chunk sizes and ends all differ; streams come and go between steps."""
    counts = [110, 90, 150, 33, 1]  # three of them outlast the ramp and the 50 tokens of history
    streams = [
        (voices[index % 3], cut(make_tokens(count, seed=index), SCHEDULES[index % 3]))
        for index, count in enumerate(counts)
    ]
    states = [engine.open(voice) for voice, _ in streams]
    pieces: list[list[torch.Tensor]] = [[] for _ in streams]
    for turn in range(max(len(chunks) for _, chunks in streams) + 4):
        # stream n joins at turn n, so that histories differ even in equal schedules
        ready = [n for n, (_, chunks) in enumerate(streams) if 0 <= turn - n < len(chunks)]
        inputs = []
        for n in ready:
            chunk = streams[n][1][turn - n]
            inputs.append(StepInput(states[n], chunk.tokens, chunk.last))
        for n, output in zip(ready, engine.step(inputs), strict=True):
            states[n] = output.state
            pieces[n].append(output.samples)
    for (voice, chunks), batched in zip(streams, pieces, strict=True):
        expected = torch.cat(alone(engine, voice, chunks))
        actual = torch.cat(batched)
        assert torch.equal(actual, expected)
        assert expected.abs().max() > 1e-3


def test_two_interleaved_streams_do_not_mix(
    engine: FunctionalEngine, voices: list[PreparedVoice]
) -> None:
    plans = [(voices[n], cut(make_tokens(80, seed=n), SCHEDULES[0])) for n in (0, 1)]
    states = [engine.open(voice) for voice, _ in plans]
    pieces: list[list[torch.Tensor]] = [[], []]
    for chunks in zip(*(chunks for _, chunks in plans), strict=True):
        for n, chunk in enumerate(chunks):
            output = engine.step([StepInput(states[n], chunk.tokens, chunk.last)])[0]
            states[n] = output.state
            pieces[n].append(output.samples)
    for (voice, chunks), interleaved in zip(plans, pieces, strict=True):
        assert torch.equal(torch.cat(interleaved), torch.cat(alone(engine, voice, chunks)))


def test_stepping_twice_from_one_state_gives_the_same_twice(
    engine: FunctionalEngine, voices: list[PreparedVoice]
) -> None:
    chunks = cut(make_tokens(80), SCHEDULES[0])
    state = engine.open(voices[0])
    for chunk in chunks[:2]:
        state = engine.step([StepInput(state, chunk.tokens, chunk.last)])[0].state
    row = StepInput(state, chunks[2].tokens, chunks[2].last)
    first, second = engine.step([row])[0], engine.step([row])[0]
    assert torch.equal(first.samples, second.samples)


def test_a_poisoned_stream_does_not_reach_its_neighbours(
    engine: FunctionalEngine, voices: list[PreparedVoice]
) -> None:
    chunk = cut(make_tokens(40), SCHEDULES[0])[0]
    healthy = engine.open(voices[1])
    sick = engine.open(voices[0])
    sick = dataclasses.replace(
        sick, flow=dataclasses.replace(sick.flow, speaker=sick.flow.speaker * torch.nan)
    )
    rows = [StepInput(state, chunk.tokens, False) for state in (sick, healthy)]
    poisoned, spared = engine.step(rows)
    assert poisoned.samples.isnan().any()
    assert not poisoned.finite and poisoned.pcm == b""
    assert spared.finite and spared.pcm
    assert torch.equal(spared.samples, engine.step([rows[1]])[0].samples)


@pytest.mark.parametrize("part", ["mel", "source", "samples"])
def test_one_non_finite_value_of_what_the_vocoder_held_back_is_noticed(
    engine: FunctionalEngine, voices: list[PreparedVoice], part: str
) -> None:
    chunks = cut(make_tokens(40), SCHEDULES[0])
    state = engine.step([StepInput(engine.open(voices[0]), chunks[0].tokens, False)])[0].state
    spoilt = getattr(state.vocoder, part).clone()
    spoilt.view(-1)[-1] = torch.nan
    state = dataclasses.replace(state, vocoder=dataclasses.replace(state.vocoder, **{part: spoilt}))
    assert not engine.step([StepInput(state, chunks[1].tokens, False)])[0].finite


def test_a_voice_of_which_the_flow_makes_no_numbers_is_refused_and_spoils_no_other(
    engine: FunctionalEngine, voices: list[PreparedVoice]
) -> None:
    prompt = voices[0].prompt
    mel = prompt.mel.clone()
    mel[3, 2] = torch.inf
    with pytest.raises(VoiceUnusable, match="overflow"):
        engine.prepare_prompt(dataclasses.replace(prompt, mel=mel))
    row = StepInput(engine.open(voices[0]), make_tokens(13), False)
    again = StepInput(engine.open(engine.prepare_prompt(prompt)), make_tokens(13), False)
    first, second = engine.step([row, again])
    assert torch.equal(first.samples, second.samples) and first.finite


def test_a_single_last_chunk_is_the_whole_but_for_attention_to_the_prompt(
    engine: FunctionalEngine, voices: list[PreparedVoice]
) -> None:
    """The prompt's frames cannot look at what follows in a stream, in a whole they do.

    So even one chunk with all tokens is another sound than the whole; the conformer alone,
    whose past is never trimmed, agrees (test_flow.py).
    """
    tokens = make_tokens(20)
    stream = alone(engine, voices[0], [Chunk(tuple(tokens), last=True)])[0]
    whole = engine.synthesize(tokens, voices[0])
    assert stream.shape == whole.shape
    assert (stream - whole).abs().max() > 1e-4


@pytest.mark.parametrize("token", [-1, 6561, 10**9])
def test_a_token_outside_the_codebook_is_refused_and_hurts_nobody(
    engine: FunctionalEngine, voices: list[PreparedVoice], token: int
) -> None:
    state = engine.open(voices[0])
    good = StepInput(state, make_tokens(13), False)
    bad = StepInput(state, [*make_tokens(12), token], False)
    before = engine.step([good])[0].samples
    with pytest.raises(ValueError, match=str(token)):
        engine.step([good, bad])
    assert torch.equal(engine.step([good])[0].samples, before)
    with pytest.raises(ValueError, match=str(token)):
        engine.synthesize([token], voices[0])


@pytest.mark.parametrize(("count", "last"), [(0, True), (0, False), (3, False)])
def test_a_chunk_that_consumes_no_token_is_refused(
    engine: FunctionalEngine, voices: list[PreparedVoice], count: int, last: bool
) -> None:
    with pytest.raises(ValueError, match=f"{count} tokens"):
        engine.step([StepInput(engine.open(voices[0]), make_tokens(count), last)])


def test_the_same_seed_gives_the_same_sound_and_another_one_another(
    token2wav_dir, engine: FunctionalEngine, voices: list[PreparedVoice]
) -> None:
    tokens = make_tokens(10)
    expected = engine.synthesize(tokens, voices[0])
    for seed, same in ((0, True), (1, False)):
        other = load_functional(token2wav_dir, seed=seed)
        sound = other.synthesize(tokens, other.prepare_prompt(voices[0].prompt))
        assert torch.equal(sound, expected) is same


def test_pcm_is_little_endian_16_bit_of_the_samples(
    engine: FunctionalEngine, voices: list[PreparedVoice]
) -> None:
    output = engine.step([StepInput(engine.open(voices[0]), make_tokens(10), True)])[0]
    back = torch.frombuffer(bytearray(output.pcm), dtype=torch.int16)
    assert (back / 32767 - output.samples).abs().max() <= 1 / 32767


@pytest.mark.parametrize("seconds", [0.5, 30.5])
def test_a_voice_recording_of_unfit_length_is_refused(
    engine: FunctionalEngine, seconds: float
) -> None:
    with pytest.raises(ReferenceAudioUnfit, match=f"{seconds:.1f}"):
        engine.encode_voice(make_wav(seconds, rate_hz=8000))


def test_a_voice_that_is_no_recording_is_refused(engine: FunctionalEngine) -> None:
    with pytest.raises(AudioUnreadable):
        engine.encode_voice(b"no sound at all" * 100)
