"""A corpus of melodies, what the earlier parts would have made of it, and a flow for it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from deployments.token2wav.functional import Flow
from tests.nano import flow as nano
from tests.nano import flow_examples
from tests.nano.corpus.store import Corpus, Utterance
from tests.nano.sizes import ACTIVE_DIGITS, FLOW, SOUND_RATE_HZ, SPEECH_RATE_HZ

MELS = FLOW.output_size


def sweeps(sentences: int = 12, speakers: int = 2) -> Corpus:
    """Gliding harmonic tones: each sentence a melody, each speaker a colour."""
    rng = np.random.default_rng(0)
    utterances: list[Utterance] = []
    speech: list[np.ndarray] = []
    sound: list[np.ndarray] = []
    for sentence in range(sentences):
        seconds = rng.uniform(1.5, 2.5)
        melody = rng.uniform(120, 1200, 8)
        for speaker in range(speakers):
            # An odd number of samples, so that frames and codes end somewhere.
            exact = seconds + 0.013 * speaker
            for rate, into in ((SPEECH_RATE_HZ, speech), (SOUND_RATE_HZ, sound)):
                at = np.arange(int(exact * rate)) / rate
                hz = np.interp(at / exact, np.linspace(0, 1, 8), melody)
                phase = 2 * np.pi * np.cumsum(hz) / rate
                overtones = np.sin(phase) + (0.2 + 0.6 * speaker) * np.sin(3 * phase)
                into.append((8000 * overtones).astype(np.int16))
            utterances.append(Utterance(sentence, speaker, "standard", 165, 50))
    return Corpus(
        sentences=[f"melody {index}" for index in range(sentences)],
        speakers=[f"colour {index}" for index in range(speakers)],
        utterances=utterances,
        speech=np.concatenate(speech),
        speech_starts=np.cumsum([0, *map(len, speech)]),
        sound=np.concatenate(sound),
        sound_starts=np.cumsum([0, *map(len, sound)]),
    )


def write_stand_ins(corpus: Corpus, out: Path) -> None:
    """Codes and embeddings for a corpus that no tokenizer has heard.

    A code is six ternary digits of random projections of its two frames; an embedding is a random
    direction for each speaker with a little of the utterance's own.
    """
    out.mkdir(parents=True, exist_ok=True)
    counts = -(-(np.diff(corpus.speech_starts) // 160) // 4)
    starts = np.cumsum([0, *counts])
    mel = flow_examples.mel_of_codes(corpus, starts, torch.device("cpu")).float().flatten(1)
    generator = torch.Generator().manual_seed(0)
    projected = (mel - mel.mean(0)) @ torch.randn(2 * MELS, ACTIVE_DIGITS, generator=generator)
    low, high = projected.quantile(torch.tensor([1 / 3, 2 / 3]), dim=0)
    digits = (projected > low).long() + (projected > high).long()  # [total, 6]
    codes = digits @ 3 ** torch.arange(ACTIVE_DIGITS)
    np.save(out / "codes.npy", codes.numpy().astype(np.int16))
    np.save(out / "codes_starts.npy", starts)
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((len(corpus.speakers), FLOW.spk_embed_dim))
    own = 0.3 * rng.standard_normal((len(counts), FLOW.spk_embed_dim))
    embeddings = directions[[u.speaker for u in corpus.utterances]] + own
    np.save(out / "embeddings.npy", embeddings.astype(np.float32))


@pytest.fixture(scope="session")
def melodies() -> Corpus:
    return sweeps()


@pytest.fixture(scope="session")
def prepared(melodies: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    write_stand_ins(melodies, out)
    return out


@pytest.fixture(scope="session")
def recordings(melodies: Corpus, prepared: Path) -> flow_examples.Recordings:
    return flow_examples.Recordings.load(melodies, prepared, torch.device("cpu"))


@pytest.fixture(scope="session")
def partners(melodies: Corpus, recordings: flow_examples.Recordings) -> flow_examples.Partners:
    return flow_examples.Partners(
        melodies, recordings.counts, prompts=np.arange(len(melodies.utterances))
    )


@pytest.fixture(scope="session")
def flow() -> Flow:
    """A flow of which every part matters: no gate is shut, as it is before training."""
    torch.manual_seed(0)
    model = nano.new_flow(torch.linspace(-8, -4, MELS))
    for block in model.decoder.estimator.blocks:
        torch.nn.init.normal_(block.adaLN_modulation[1].weight, std=0.05)
        torch.nn.init.normal_(block.adaLN_modulation[1].bias, std=0.3)
    return model.eval().requires_grad_(False)
