"""Write a whole model directory of random weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serve_app.checkpoint.model_card import model_card
from serve_app.checkpoint.onnx_models import write_speaker_encoder, write_speech_tokenizer
from serve_app.checkpoint.shards import write_shards
from serve_app.checkpoint.sizes import Checkpoint, Size, checkpoint
from serve_app.checkpoint.thinker_weights import ThinkerWeights
from serve_app.checkpoint.token2wav_weights import write_flow, write_hift
from serve_app.checkpoint.tokenizer import write_tokenizer


def make_checkpoint(
    directory: Path,
    *,
    size: Size,
    seed: int = 0,
    llm_weights: bool = True,
    on_progress: Callable[[str], None] | None = None,
) -> None:
    """Write a complete model directory in the published layout, with seeded random weights.

    Random weights make noise: the Thinker answers in made-up syllables and audio tokens, in the
    right form (one text token, four audio tokens, …), and Token2Wav turns those into sound that
    is no speech. The same seed gives the same weights.

    Args:
        directory: made where it is missing; files of the same names are replaced.
        size: `tiny`, under 30 MB and a second or two, or `full`, with the published dimensions and
            token ids: 17 GB, or 2 GB without the decoder.
        seed: of every weight.
        llm_weights: False leaves the decoder's weights out, for vLLM's `load_format: dummy`.
        on_progress: told in a few words what is written next.

    Raises:
        ValueError: there is no such size.
        OSError: the directory cannot be written.
    """
    report = on_progress or (lambda message: None)
    plan = checkpoint(size)
    token2wav = directory / "token2wav"
    token2wav.mkdir(parents=True, exist_ok=True)
    report("tokenizer")
    max_tokens = plan.thinker.text_config.max_position_embeddings
    write_tokenizer(directory, plan.vocabulary, max_tokens=max_tokens)
    report("speech tokenizer and speaker encoder")
    write_speech_tokenizer(token2wav / "speech_tokenizer_v2_25hz.onnx", seed)
    write_speaker_encoder(token2wav / "campplus.onnx", seed)
    report("flow")
    write_flow(token2wav, plan.flow, seed)
    report("vocoder")
    write_hift(token2wav, plan.hift, seed)
    weights = ThinkerWeights(plan.thinker, plan.vocabulary, seed, llm=llm_weights)
    for old in directory.glob("model-*-of-*.safetensors"):
        old.unlink()
    write_shards(
        directory,
        weights.shapes,
        weights.dtype,
        weights.value,
        shard_bytes=plan.shard_bytes,
        on_progress=report,
    )
    card = model_card(size, seed, llm_weights=llm_weights)
    (directory / "README.md").write_text(card, encoding="utf-8")
    _write_json(directory / "generation_config.json", _generation_config(plan))
    # Without a version transformers warns that a large tokenizer may be one of Mistral's old ones.
    config = {**plan.thinker.to_published_dict(), "transformers_version": "4.49.0"}
    # the last file, so that a directory that has it is complete
    _write_json(directory / "config.json", config)


def _generation_config(plan: Checkpoint) -> dict[str, Any]:
    return {
        "do_sample": True,
        "temperature": 0.7,
        "top_p": 0.9,
        "repetition_penalty": 1.05,
        "eos_token_id": plan.vocabulary.eos_token_ids,
        "pad_token_id": plan.vocabulary.ids["<|endoftext|>"],
    }


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
