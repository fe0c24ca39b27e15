"""The Thinker learns from its lessons, and what is saved is what vLLM loads."""

import json
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer

from deployments.thinker.vllm_plugin.hf_config import StepAudio2Config
from serve_app.checkpoint.thinker_weights import ThinkerWeights
from tests.nano.corpus.store import Corpus
from tests.nano.flat import Flat
from tests.nano.text_tokenizer import nano_vocabulary
from tests.nano.thinker import save
from tests.nano.thinker_examples import Examples
from tests.nano.thinker_lessons import Lessons
from tests.nano.thinker_model import Thinker, nano_config
from tests.unit.nano.chirps import CPU, small_model


def test_losses_fall(examples: Examples, chirps: Corpus, chirp_codes: Flat) -> None:
    model = small_model()
    lessons = Lessons(model, examples, chirp_codes, chirps.speech_bank(CPU), rows=24)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    values = []
    for step in range(12):
        losses = lessons.losses(step, 0.0)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        values.append({name: value.item() for name, value in losses.items()})
    assert all(np.isfinite(list(row.values())).all() for row in values)
    for name in (
        "heard_digits",
        "heard_words",
        "transcript",
        "written",
        "spoken_text",
        "repeated_text",
        "codes",
    ):
        assert values[-1][name] < 0.98 * values[0][name], name


def test_the_saved_folder_has_the_published_names_and_reads_back(tmp_path: Path) -> None:
    vocabulary = nano_vocabulary()
    config = nano_config(vocabulary)
    model = Thinker(config)
    save(model, config, vocabulary, tmp_path)
    published = StepAudio2Config(**json.loads((tmp_path / "config.json").read_text()))
    expected = ThinkerWeights(published, vocabulary, seed=0)
    weights = model.published_weights()
    assert {name: value.shape for name, value in weights.items()} == expected.shapes
    assert all(value.dtype is expected.dtype is torch.bfloat16 for value in weights.values())
    assert AutoTokenizer.from_pretrained(tmp_path).get_vocab() == vocabulary.ids
    files = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert files < 24_000_000
