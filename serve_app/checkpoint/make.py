"""Write a whole model directory of random weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from deployments.errors import ConfigError
from deployments.model_checks import CONFIG, SPEAKER_ENCODER, SPEECH_TOKENIZER
from deployments.weight_files import one_line
from serve_app.checkpoint.model_card import model_card
from serve_app.checkpoint.onnx_models import write_speaker_encoder, write_speech_tokenizer
from serve_app.checkpoint.shards import write_shards
from serve_app.checkpoint.sizes import Checkpoint, Size, checkpoint
from serve_app.checkpoint.thinker_weights import ThinkerWeights
from serve_app.checkpoint.token2wav_weights import write_flow, write_hift
from serve_app.checkpoint.tokenizer import write_tokenizer
from serve_app.whole_files import reason, require_folder, whole_folder


def make_checkpoint(
    directory: Path,
    *,
    size: Size,
    seed: int = 0,
    llm_weights: bool = True,
    overwrite: bool = False,
    on_progress: Callable[[str], None] | None = None,
) -> None:
    """Write a complete model directory in the published layout, with seeded random weights.

    Random weights make noise: the Thinker answers in made-up syllables and audio tokens, in the
    right form (one text token, four audio tokens, …), and Token2Wav turns those into sound that
    is no speech. The same seed gives the same weights.

    Args:
        directory: made where it is missing. Nothing has a name in it before all is written.
        size: `tiny`, under 30 MB and a second or two, or `full`, with the published dimensions and
            token ids: 17 GB, or 2 GB without the decoder.
        seed: of every weight.
        llm_weights: False leaves the decoder's weights out, for vLLM's `load_format: dummy`.
        overwrite: replace a model that the directory holds; other files in it stay.
        on_progress: called with a few words that say what is written next.

    Raises:
        ValueError: there is no such size.
        ConfigError: the directory holds something and may not be overwritten, or it cannot be
            written: it is a file, or the disk is too small.
    """
    plan = checkpoint(size)
    weights = ThinkerWeights(plan.thinker, plan.vocabulary, seed, llm=llm_weights)
    _require_place(directory, weights, overwrite=overwrite)
    try:
        with whole_folder(directory, last=CONFIG) as part:
            _write(part, plan, weights, seed, on_progress or (lambda message: None))
            card = model_card(size, seed, llm_weights=llm_weights)
            (part / "README.md").write_text(card, encoding="utf-8")
            _delete_old(directory)
    except OSError as error:
        raise ConfigError(f"{directory} cannot be written: {reason(error)}") from error
    except (RuntimeError, SafetensorError) as error:  # how torch and safetensors say the same
        raise ConfigError(f"{directory} cannot be written: {one_line(error):.200}") from error


def _write(
    directory: Path,
    plan: Checkpoint,
    weights: ThinkerWeights,
    seed: int,
    report: Callable[[str], None],
) -> None:
    token2wav = directory / "token2wav"
    token2wav.mkdir()
    report("tokenizer")
    max_tokens = plan.thinker.text_config.max_position_embeddings
    write_tokenizer(directory, plan.vocabulary, max_tokens=max_tokens)
    report("speech tokenizer and speaker encoder")
    write_speech_tokenizer(token2wav / SPEECH_TOKENIZER, seed)
    write_speaker_encoder(token2wav / SPEAKER_ENCODER, seed)
    report("flow")
    write_flow(token2wav, plan.flow, seed)
    report("vocoder")
    write_hift(token2wav, plan.hift, seed)
    write_shards(
        directory,
        weights.shapes,
        weights.dtype,
        weights.value,
        shard_bytes=plan.shard_bytes,
        on_progress=report,
    )
    _write_json(directory / "generation_config.json", _generation_config(plan))
    # Without a version transformers warns that a large tokenizer may be one of Mistral's old ones.
    config = {**plan.thinker.to_published_dict(), "transformers_version": "4.49.0"}
    _write_json(directory / CONFIG, config)


def _require_place(directory: Path, weights: ThinkerWeights, *, overwrite: bool) -> None:
    """Raises ConfigError: something would be lost, or the directory has no room."""
    if directory.is_dir() and any(directory.iterdir()) and not overwrite:
        raise ConfigError(f"{directory} is not empty; --overwrite replaces the model in it")
    require_folder(directory if directory.exists() else directory.parent, "the folder")
    needed = sum(shape.numel() for shape in weights.shapes.values()) * weights.dtype.itemsize
    free = shutil.disk_usage(directory if directory.exists() else directory.parent).free
    if needed > free:
        raise ConfigError(
            f"{directory} has no room for the model: it takes {needed / 1e9:.1f} GB and more, "
            f"the disk has {free / 1e9:.1f}"
        )


def _delete_old(directory: Path) -> None:
    """What makes a directory a model, its configuration first, and shards of other numbers."""
    (directory / CONFIG).unlink(missing_ok=True)
    for old in directory.glob("model-*-of-*.safetensors"):
        old.unlink()


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
