"""What the Thinker is trained on is what the server asks: the same tokens, the same log-mels."""

import numpy as np
import torch

from deployments.mel import log_mel_spectrogram
from deployments.messages import Message
from deployments.thinker import tasks
from deployments.thinker.prompt import PromptBuilder
from deployments.thinker.vllm_plugin.lengths import (
    BRACKETS,
    MEL_PADDING,
    mel_frames,
    placeholder_tokens,
)
from tests.nano.corpus.store import Corpus
from tests.nano.thinker_batches import Ear
from tests.nano.thinker_examples import Examples, Plan, Task, spellings
from tests.unit.nano.chirps import CPU, TOKENIZER, drawn


def expected_prompt(examples: Examples, messages: tuple[Message, ...], samples: int) -> list[int]:
    """As vLLM sees it: the server's prompt with each `<audio_patch>` replaced."""
    special = examples.writer.special
    prompt = PromptBuilder(TOKENIZER, special).build(messages, "text")
    ids: list[int] = []
    for token in prompt.token_ids:
        patches = [special.audio_patch] * (placeholder_tokens(samples) - BRACKETS)
        heard = [special.audio_start, *patches, special.audio_end]
        ids += heard if token == special.audio_patch else [token]
    return ids


def test_rows_are_the_servers_prompts_and_then_the_answer(examples: Examples) -> None:
    plan, batch = drawn(examples)
    for row in np.flatnonzero(plan.tasks == Task.TRANSCRIBE):
        samples = int(plan.samples[row])
        prompt = expected_prompt(examples, tasks.transcribe(np.zeros(samples)), samples)
        answer = examples.answers[plan.answers[row]].tolist()
        assert batch.token_ids[row, : len(prompt) + len(answer)].tolist() == prompt + answer
        assert batch.starts[row] == len(prompt)


def test_prompts_without_speech_are_the_servers(examples: Examples, chirps: Corpus) -> None:
    plan, batch = drawn(examples, rows=200)
    special = examples.writer.special
    build = PromptBuilder(TOKENIZER, special).build
    count = len(examples.sentences)
    for row in np.flatnonzero(plan.tasks == Task.TEXT_SPOKEN):
        text = chirps.sentences[plan.answers[row] - count]
        possible = [
            build(messages, "speech").token_ids
            for spelling in spellings(text)
            for messages in (tasks.converse(spelling), tasks.converse(spelling)[1:])
        ]
        prompt = batch.token_ids[row, : int(batch.starts[row])].tolist()
        system = special.turn_start, *TOKENIZER.encode("system\n", add_special_tokens=False).ids
        assert prompt in possible or tuple(prompt[:3]) == system
        assert prompt[-1] == special.tts_start


def test_every_answer_token_is_predicted_from_the_one_before(examples: Examples) -> None:
    plan, batch = drawn(examples)
    assert torch.equal(batch.token_ids.flatten()[batch.at + 1], batch.targets)
    answers = np.concatenate([examples.answers[row] for row in plan.answers])
    assert batch.targets.tolist() == answers.tolist()


def test_log_mels_of_a_batch_are_the_servers(examples: Examples, chirps: Corpus) -> None:
    plan, batch = drawn(examples)
    mels, frames = Ear(chirps.speech_bank(CPU)).hear(batch, roughly=False)
    for row, index in enumerate(plan.utterances):
        alone = log_mel_spectrogram(heard_alone(chirps, plan, row), padding=MEL_PADDING)
        assert frames[row] == alone.shape[1] == mel_frames(int(plan.samples[row])), index
        torch.testing.assert_close(mels[row, :, : alone.shape[1]], alone, atol=2e-4, rtol=0)
        assert not mels[row, :, alone.shape[1] :].any()


def heard_alone(chirps: Corpus, plan: Plan, row: int) -> torch.Tensor:
    begin, end = chirps.speech_starts[plan.utterances[row] : plan.utterances[row] + 2]
    samples = torch.zeros(int(plan.samples[row]))
    lead = int(plan.lead[row])
    speech = torch.from_numpy(np.array(chirps.speech[begin:end])).float() / 32768
    samples[lead : lead + len(speech)] = speech
    return samples


def test_roughened_speech_differs_and_stays_within_its_length(
    examples: Examples, chirps: Corpus
) -> None:
    _, batch = drawn(examples)
    torch.manual_seed(0)
    ear = Ear(chirps.speech_bank(CPU))
    clean, frames = ear.hear(batch, roughly=False)
    rough, same_frames = ear.hear(batch, roughly=True)
    assert torch.equal(frames, same_frames)
    outside = torch.arange(clean.shape[2]) >= frames[:, None, None]
    assert not rough.masked_select(outside).any()
    assert (rough - clean).abs().mean((1, 2)).min() > 0.01
