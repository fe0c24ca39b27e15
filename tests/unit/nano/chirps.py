"""A corpus of chirps, the Thinker's examples of it, and a Thinker with less of everything."""

import numpy as np
import pytest
import torch

from deployments.thinker.vllm_plugin.hf_config import StepAudio2Config
from serve_app.checkpoint.tokenizer import make_tokenizer
from tests.nano.corpus.sentences import training_sentences
from tests.nano.corpus.store import Corpus, Kind, Utterance
from tests.nano.flat import Flat
from tests.nano.sizes import USED_CODES
from tests.nano.text_tokenizer import nano_vocabulary
from tests.nano.thinker_batches import Batch, Tables
from tests.nano.thinker_examples import Examples, Plan
from tests.nano.thinker_model import Thinker, nano_config

CPU = torch.device("cpu")
SENTENCES = 12
TOKENIZER = make_tokenizer(nano_vocabulary())
KINDS: tuple[Kind, ...] = ("standard", "standard", "free")


@pytest.fixture(scope="session")
def chirps() -> Corpus:
    """Chirps in the place of speech, of every remainder of a frame."""
    rng = np.random.default_rng(0)
    lengths = 8_000 + 701 * np.arange(SENTENCES * len(KINDS))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    times = np.concatenate([np.arange(length) for length in lengths]) / 16_000
    pitches = np.repeat(rng.uniform(100, 900, len(lengths)), lengths)
    sweeps = 0.3 * np.sin(2 * np.pi * pitches * times * (1 + times))
    return Corpus(
        sentences=training_sentences(SENTENCES, seed=5),
        speakers=["one", "two"],
        utterances=[
            Utterance(sentence, 1 - nth % 2, kind, 170, 50)
            for sentence in range(SENTENCES)
            for nth, kind in enumerate(KINDS)
        ],
        speech=((sweeps + 0.01 * rng.standard_normal(len(times))) * 32767).astype(np.int16),
        speech_starts=starts,
        sound=np.zeros(0, dtype=np.int16),
        sound_starts=np.zeros(len(starts), dtype=np.int64),
    )


@pytest.fixture(scope="session")
def chirp_codes(chirps: Corpus) -> Flat:
    rng = np.random.default_rng(1)
    counts = -(-np.diff(chirps.speech_starts) // 640)
    return Flat.of([rng.integers(USED_CODES, size=count) for count in counts])


@pytest.fixture(scope="session")
def examples(chirps: Corpus, chirp_codes: Flat) -> Examples:
    return Examples(chirps, chirp_codes, TOKENIZER, range(SENTENCES - 2))


def small_model() -> Thinker:
    """Nano's architecture with less of everything."""
    config = nano_config(nano_vocabulary()).to_published_dict()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config["text_config"] |= {**sizes, "num_attention_heads": 2, "num_key_value_heads": 1}
    audio = {"n_audio_state": 32, "n_audio_head": 2, "n_audio_layer": 2, "llm_dim": 32}
    config["audio_encoder_config"] |= {**audio, "adapter_state": 32}
    torch.manual_seed(0)
    return Thinker(StepAudio2Config(**config)).eval()


@pytest.fixture(scope="session")
def model() -> Thinker:
    """Large weights, so that what is said depends on all of the prompt."""
    model = small_model()
    for parameter in model.language.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=3 * parameter.shape[1] ** -0.5)
    return model


def drawn(examples: Examples, rows: int = 40, seed: int = 0) -> tuple[Plan, Batch]:
    plan = examples.draw(np.random.default_rng(seed), rows)
    return plan, Tables(examples, CPU).batch(plan)
