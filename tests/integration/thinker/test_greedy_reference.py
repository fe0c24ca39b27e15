"""Greedy tokens through vLLM equal an independent reference on the same weights."""

import asyncio
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from deployments.mel import log_mel_spectrogram
from deployments.messages import SamplingOptions, ThinkerRequest
from deployments.thinker import tasks
from deployments.thinker.vllm_plugin.audio_encoder import Adapter, AudioEncoder
from deployments.thinker.vllm_plugin.hf_config import AudioEncoderConfig
from deployments.thinker.vllm_plugin.lengths import MEL_PADDING
from tests.integration.thinker.conftest import collect, ids_of
from tests.integration.thinker.reference import ReferenceThinker

TOKENS = 24
GREEDY = SamplingOptions(temperature=0.0, top_p=1.0, repetition_penalty=1.0, max_tokens=TOKENS)
RATE = 16_000
numbers = count()


def sound(seconds: float, seed: int) -> np.ndarray:
    """A chirp in noise: every piece differs from every other."""
    time = np.arange(int(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).standard_normal(len(time))
    chirp = np.sin(2 * np.pi * (100 + 40 * seed + 30 * time) * time)
    return (0.3 * chirp + 0.05 * noise).astype(np.float32)


LISTEN = "<|BOT|>system\n" + tasks.TRANSCRIBE + "<|EOT|><|BOT|>human\n{audio}<|EOT|>"
CASES = {
    "text": (tasks.converse("hello, who are you?"), "text", 0.0),
    "3 s": (tasks.transcribe(sound(3, 1)), "text", 3.0),
    "60 s": (tasks.transcribe(sound(60, 2)), "text", 60.0),
    "spoken": (tasks.speak("hello there"), "speech", 0.0),
}


@pytest.fixture(scope="module")
def expected(tiny_model: Path) -> dict[str, list[int]]:
    reference = ReferenceThinker(tiny_model)
    tail = "<|BOT|>assistant\n"
    chat = f"<|BOT|>system\n{tasks.CONVERSE}<|EOT|><|BOT|>human\nhello, who are you?<|EOT|>"
    speak = f"<|BOT|>system\n{tasks.SPEAK}<|EOT|><|BOT|>human\nhello there<|EOT|>"
    long = sound(60, 2)
    pieces = [long[start : start + 25 * RATE] for start in range(0, len(long), 25 * RATE)]
    return {
        "text": reference.greedy(chat + tail, [], TOKENS),
        "3 s": reference.greedy(LISTEN.format(audio="<audio>") + tail, [sound(3, 1)], TOKENS),
        "60 s": reference.greedy(LISTEN.format(audio="<audio>" * 3) + tail, pieces, TOKENS),
        "spoken": reference.greedy(speak + tail + "<tts_start>", [], TOKENS),
    }


def request(case: str) -> ThinkerRequest:
    messages, reply, _ = CASES[case]
    return ThinkerRequest(f"{case} {next(numbers)}", messages, reply=reply, sampling=GREEDY)


def test_the_answers_to_compare_depend_on_what_is_heard(expected, tiny_model):
    assert all(len(set(ids)) >= 8 for ids in expected.values())
    assert len({tuple(ids) for ids in expected.values()}) == len(CASES)
    prompt = LISTEN.format(audio="<audio>") + "<|BOT|>assistant\n"
    other = ReferenceThinker(tiny_model).greedy(prompt, [sound(3, 9)], TOKENS)
    assert other != expected["3 s"]


@torch.inference_mode()
def test_the_encoders_embeddings_equal_the_definition_for_every_remainder_of_a_length(tiny_model):
    reference = ReferenceThinker(tiny_model)
    config = AudioEncoderConfig(**reference.audio)
    encoder, adapter = AudioEncoder(config), Adapter(config)
    for name, module in (("encoder.", encoder), ("adapter.", adapter)):
        weights = reference.weights.items()
        module.load_state_dict(
            {key.removeprefix(name): value for key, value in weights if key.startswith(name)}
        )
    for samples in (400, *range(16_000, 18_000, 161), 400_000):
        heard = torch.from_numpy(sound(25, 3)[:samples])
        mel = log_mel_spectrogram(heard, n_mels=config.n_mels, padding=MEL_PADDING)
        embeddings = adapter(encoder(mel[None], torch.tensor([mel.shape[1]])))[0]
        expected = reference.hear(heard.numpy())
        torch.testing.assert_close(embeddings[: len(expected)], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
async def test_alone_and_again_from_the_cache(case, engine, expected):
    first, again = [await collect(engine, request(case)) for _ in range(2)]
    assert ids_of(first) == expected[case]
    assert ids_of(again) == expected[case]
    prompt_tokens = again[-1].usage.prompt_tokens
    assert again[-1].usage.cached_prompt_tokens >= prompt_tokens // 32 * 32 - 32


async def test_batched_with_all_the_others(engine, expected):
    cases = [case for case in CASES for _ in range(2)]
    answers = await asyncio.gather(*(collect(engine, request(case)) for case in cases))
    for case, answer in zip(cases, answers, strict=True):
        assert ids_of(answer) == expected[case], case


async def test_pieces_of_new_audio_encoded_together_do_not_mix(engine, tiny_model):
    reference = ReferenceThinker(tiny_model)
    sounds = [sound(seconds, seed) for seed, seconds in enumerate((1.3, 7.77, 24.99, 0.4), 10)]
    requests = [
        ThinkerRequest(f"new {i}", tasks.transcribe(samples), sampling=GREEDY)
        for i, samples in enumerate(sounds)
    ]
    answers = await asyncio.gather(*(collect(engine, request) for request in requests))
    prompt = LISTEN.format(audio="<audio>") + "<|BOT|>assistant\n"
    for samples, answer in zip(sounds, answers, strict=True):
        assert ids_of(answer) == reference.greedy(prompt, [samples], TOKENS)
