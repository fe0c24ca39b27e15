"""Nano's Thinker: trained on what the server asks, written as vLLM loads it, and tried out."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from deployments.thinker.vllm_plugin.hf_config import StepAudio2Config
from serve_app.checkpoint.shards import write_shards
from serve_app.checkpoint.tokenizer import make_tokenizer, write_tokenizer
from serve_app.checkpoint.vocabulary import Vocabulary
from tests.nano.corpus.store import Corpus
from tests.nano.flat import Flat
from tests.nano.text_tokenizer import nano_vocabulary
from tests.nano.thinker_answers import SPEECH_SAMPLING, Answerer
from tests.nano.thinker_check import check
from tests.nano.thinker_examples import Examples
from tests.nano.thinker_lessons import Lessons
from tests.nano.thinker_model import Thinker, nano_config
from tests.nano.training import Recipe, device, seed_everything, train

LEARNING_RATE = 1.5e-3
LEFT_OUT_SHARE = 0.02  # of the sentences, the last ones: never trained on
CHECKED_SENTENCES = 64
SHARD_BYTES = 64_000_000


def main(corpus: Path, out: Path, minutes: float, batch: int) -> None:
    """Train on `corpus` and on `out/codes.npy`; write `out/thinker` and `out/thinker_check.json`.

    `batch` counts examples, of about 200 tokens each.
    """
    seed_everything(0)
    recordings, codes = Corpus.open(corpus), Flat.codes(out)
    vocabulary = nano_vocabulary()
    config, tokenizer = nano_config(vocabulary), make_tokenizer(vocabulary)
    count = len(recordings.sentences)
    left_out = max(1, round(count * LEFT_OUT_SHARE))
    examples = Examples(recordings, codes, tokenizer, range(count - left_out))
    speech = recordings.speech_bank(device())
    model = Thinker(config).to(device())
    lessons = Lessons(model, examples, codes, speech, batch)
    recipe = Recipe(minutes=minutes, learning_rate=LEARNING_RATE)
    model.load_state_dict(train("thinker", model, lessons.losses, recipe, out))
    model.round_weights()
    save(model, config, vocabulary, out / "thinker")

    unheard = list(range(count - left_out, count))[-CHECKED_SENTENCES:]
    unseen = Examples(recordings, codes, tokenizer, unheard)
    model.eval()
    figures = check(Answerer(model, unseen, speech), unseen, codes, unheard)
    _write_json(out / "thinker_check.json", figures)
    print(json.dumps({k: v for k, v in figures.items() if not isinstance(v, list)}, indent=2))


def save(model: Thinker, config: StepAudio2Config, vocabulary: Vocabulary, folder: Path) -> None:
    """Write the Thinker's part of a model directory: tokenizer, configuration and weights."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, vocabulary, max_tokens=config.text_config.max_position_embeddings)
    weights = model.published_weights()
    write_shards(
        folder,
        {name: value.shape for name, value in weights.items()},
        torch.bfloat16,
        weights.__getitem__,
        shard_bytes=SHARD_BYTES,
        on_progress=print,
    )
    generation = {
        "do_sample": True,
        "temperature": SPEECH_SAMPLING.temperature,
        "top_p": SPEECH_SAMPLING.top_p,
        "repetition_penalty": SPEECH_SAMPLING.repetition_penalty,
        "eos_token_id": vocabulary.eos_token_ids,
        "pad_token_id": vocabulary.ids["<|endoftext|>"],
    }
    _write_json(folder / "generation_config.json", generation)
    published = {**config.to_published_dict(), "transformers_version": "4.49.0"}
    _write_json(folder / "config.json", published)


def _write_json(path: Path, values: Mapping[str, object]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
