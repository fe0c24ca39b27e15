"""Batches of ragged rows in the flow and the vocoder themselves, and streaming against whole."""

import dataclasses
from pathlib import Path

import pytest
import torch

from deployments.token2wav.functional import (
    Flow,
    FlowInput,
    FlowState,
    FlowSynthesizer,
    HiftInput,
    HiftState,
    Vocoder,
    load_flow,
    load_hift,
)
from deployments.token2wav.functional.cfm import HISTORY_TAIL_FRAMES, seeded_noise
from tests.unit.deployments.token2wav.samples import make_tokens

TOLERANCE = 1e-5
PROMPT_CODES = [26, 50, 83]


def make_prompt(codes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(codes)
    mel = torch.randn(2 * codes, 80, generator=generator) - 5
    return torch.tensor(make_tokens(codes)), torch.randn(192, generator=generator), mel


def tokens_of(count: int, seed: int = 0) -> torch.Tensor:
    return torch.tensor(make_tokens(count, seed))


@pytest.fixture(scope="module")
def flow(token2wav_dir: Path) -> Flow:
    return load_flow(token2wav_dir)


@pytest.fixture(scope="module")
def synthesizer(flow: Flow) -> FlowSynthesizer:
    return FlowSynthesizer(flow, seed=0)


def advanced(synthesizer: FlowSynthesizer, voice: FlowState, chunks: int, seed: int) -> FlowState:
    for index in range(chunks):
        chunk = FlowInput(tokens_of(28, seed=10 * seed + index), False, voice)
        voice = synthesizer.step([chunk])[1][0]
    return voice


def ragged_rows(synthesizer: FlowSynthesizer) -> list[FlowInput]:
    """Three voices, histories untouched to trimmed, chunks of 1 to 40 tokens, two that end."""
    voices = [synthesizer.prepare(*make_prompt(codes)) for codes in PROMPT_CODES]
    plans = [(0, 0, 13, False), (1, 4, 28, False), (2, 1, 1, True), (0, 6, 43, False),
             (2, 3, 25, True), (1, 1, 5, False)]  # fmt: skip
    return [
        FlowInput(tokens_of(n, seed), last, advanced(synthesizer, voices[voice], chunks, seed))
        for seed, (voice, chunks, n, last) in enumerate(plans)
    ]


def test_a_ragged_batch_gives_every_row_the_mel_and_the_state_it_gets_alone(
    synthesizer: FlowSynthesizer,
) -> None:
    rows = ragged_rows(synthesizer)
    assert len({row.state.solver.frames for row in rows}) >= 4
    mels, states = synthesizer.step(rows)
    for row, mel, state in zip(rows, mels, states, strict=True):
        (expected,), (expected_state,) = synthesizer.step([row])
        assert mel.shape == expected.shape
        assert (mel - expected).abs().max() <= TOLERANCE
        for ours, theirs in (
            (state.solver.history, expected_state.solver.history),
            (state.solver.conv, expected_state.solver.conv),
            (state.encoder.attention, expected_state.encoder.attention),
            (state.encoder.up_attention, expected_state.encoder.up_attention),
            (state.encoder.lookahead, expected_state.encoder.lookahead),
            (state.encoder.upsample, expected_state.encoder.upsample),
        ):
            assert ours.shape == theirs.shape
            assert (ours - theirs).abs().max() <= 10 * TOLERANCE  # not amplified by the next step


def test_a_step_writes_to_no_state_that_it_was_given(synthesizer: FlowSynthesizer) -> None:
    rows = ragged_rows(synthesizer)
    before = [row.state.solver.history.clone() for row in rows]
    encoders = [row.state.encoder.attention.clone() for row in rows]
    synthesizer.step(rows)
    for row, history, attention in zip(rows, before, encoders, strict=True):
        assert torch.equal(row.state.solver.history, history)
        assert torch.equal(row.state.encoder.attention, attention)


@pytest.mark.parametrize("codes", PROMPT_CODES)
def test_attention_history_keeps_the_prompt_and_100_frames(
    synthesizer: FlowSynthesizer, codes: int
) -> None:
    voice = synthesizer.prepare(*make_prompt(codes))
    assert voice.solver.frames == 2 * codes
    state = advanced(synthesizer, voice, chunks=2, seed=0)
    assert state.solver.frames == 2 * codes + HISTORY_TAIL_FRAMES  # two chunks of 50 fit exactly
    longer = advanced(synthesizer, state, chunks=1, seed=1)
    assert longer.solver.frames == state.solver.frames
    # newest first: what is forgotten lies in the middle, the prompt's end stays where it was
    assert torch.equal(
        longer.solver.history[..., -HISTORY_TAIL_FRAMES:, :],
        state.solver.history[..., -HISTORY_TAIL_FRAMES:, :],
    )
    assert longer.encoder.attention.shape[2] == codes + 75  # the encoder forgets nothing yet


def test_the_encoder_keeps_the_prompt_and_the_newest_tokens_of_a_long_stream(
    synthesizer: FlowSynthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, tail = 50, 60
    voice = synthesizer.prepare(*make_prompt(codes))
    whole = advanced(synthesizer, voice, chunks=3, seed=0).encoder  # 75 tokens
    monkeypatch.setattr("deployments.token2wav.functional.flow.ENCODER_TAIL_TOKENS", tail)
    kept = advanced(synthesizer, voice, chunks=3, seed=0).encoder
    assert torch.equal(kept.attention[:, :, :codes], voice.encoder.attention)
    assert torch.equal(kept.attention[:, :, codes:], whole.attention[:, :, -tail:])
    assert torch.equal(kept.up_attention[:, :, : 2 * codes], voice.encoder.up_attention)
    assert torch.equal(kept.up_attention[:, :, 2 * codes :], whole.up_attention[:, :, -2 * tail :])
    state = advanced(synthesizer, voice, chunks=6, seed=0)
    assert state.encoder.attention.shape[2] == codes + tail  # however long it is
    assert state.solver.history.isfinite().all()


def encoded(flow: Flow, tokens: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    state, begin, pieces = flow.encoder.empty_state(), 0, []
    for index, size in enumerate(sizes):
        last = index == len(sizes) - 1
        chunk = tokens[begin : begin + size + (0 if last else flow.lookahead)]
        (piece,), (state,) = flow.encode([chunk], [last], [state])
        pieces.append(piece)
        begin += size
    return torch.cat(pieces)


@torch.inference_mode()
def test_the_first_frames_of_a_stream_are_encoded_as_in_the_whole_that_ends_with_its_lookahead(
    flow: Flow,
) -> None:
    """A chunk sees no further than its lookahead: with other tokens after it, it is the same."""
    one, other = tokens_of(90, seed=1), tokens_of(90, seed=2)
    other[:28] = one[:28]
    first = encoded(flow, one, [25, 65])[:50]
    assert torch.equal(first, encoded(flow, other, [25, 65])[:50])
    other[27] = (one[27] + 1) % 6561  # the last token of the lookahead does matter
    assert not torch.equal(first, encoded(flow, other, [25, 65])[:50])


@torch.inference_mode()
def test_a_stream_of_one_chunk_is_encoded_as_the_whole_and_one_of_two_is_not(flow: Flow) -> None:
    """In the whole, early frames attend to later ones; in a stream they cannot."""
    tokens = tokens_of(60)
    whole = encoded(flow, tokens, [60])
    split = encoded(flow, tokens, [30, 30])
    assert whole.shape == split.shape
    assert (whole - split).abs().max() > 1e-3


@torch.inference_mode()
def test_the_whole_depends_on_the_prompts_mel_and_on_the_direction_of_its_embedding(
    synthesizer: FlowSynthesizer,
) -> None:
    codes, embedding, mel = make_prompt(26)
    tokens = tokens_of(40)
    whole = synthesizer.whole(tokens, codes, embedding, mel)
    assert whole.shape == (80, 80)
    assert not torch.equal(whole, synthesizer.whole(tokens, codes, embedding, mel + 1))
    # only the embedding's direction counts (times a power of two, so that nothing is rounded)
    assert torch.equal(whole, synthesizer.whole(tokens, codes, 4 * embedding, mel))


def test_the_noise_is_fixed_by_its_seed_and_read_at_the_length_of_the_history(
    flow: Flow, synthesizer: FlowSynthesizer
) -> None:
    assert torch.equal(synthesizer.noise, seeded_noise(80, 0))
    assert not torch.equal(synthesizer.noise, seeded_noise(80, 1))
    voice = synthesizer.prepare(*make_prompt(26))
    row = FlowInput(tokens_of(13), False, voice)
    expected = synthesizer.step([row])[0][0]
    changed = FlowSynthesizer(flow, seed=0)
    changed.noise[:52] += 1  # the prompt's part, which was used when the voice was prepared
    changed.noise[72:] += 1
    assert torch.equal(changed.step([row])[0][0], expected)
    changed.noise[71] += 1
    assert not torch.equal(changed.step([row])[0][0], expected)


def test_a_chunk_past_the_end_of_the_noise_is_refused(synthesizer: FlowSynthesizer) -> None:
    voice = synthesizer.prepare(*make_prompt(26))
    with pytest.raises(ValueError, match="30000 of noise"):
        synthesizer.step([FlowInput(tokens_of(15_000), True, voice)])


def test_a_prompt_whose_mel_has_another_length_is_refused(synthesizer: FlowSynthesizer) -> None:
    codes, embedding, mel = make_prompt(26)
    with pytest.raises(ValueError, match="51 mel frames"):
        synthesizer.prepare(codes, embedding, mel[:51])


def test_the_vocoder_pads_no_row_and_mixes_none(token2wav_dir: Path) -> None:
    vocoder = Vocoder(load_hift(token2wav_dir), seed=0)
    generator = torch.Generator().manual_seed(0)
    start = HiftState.empty(vocoder.hift)
    lengths = [20, 50, 20, 2, 50]
    rows = [HiftInput(torch.randn(n, 80, generator=generator) - 5, False, start) for n in lengths]
    samples, states = vocoder.step(rows)
    continued = [
        dataclasses.replace(row, last=True, state=state)
        for row, state in zip(rows, states, strict=True)
    ]
    ends, _ = vocoder.step(continued)
    for row, begin, end in zip(rows, samples, ends, strict=True):
        (alone,), (state,) = vocoder.step([row])
        assert begin.shape == alone.shape == (max(0, len(row.mel) - 8) * 480,)
        assert (begin - alone).abs().sum() <= 1e-3 * len(alone)
        (alone_end,), _ = vocoder.step([dataclasses.replace(row, last=True, state=state)])
        assert len(begin) + len(end) == 2 * 480 * len(row.mel)
        assert (end - alone_end).abs().max() <= 1e-3  # float32 phases, see FunctionalEngine.step
