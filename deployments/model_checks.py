"""Whether a checkpoint's files are whole and belong together, before an engine reads them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from deployments.errors import ConfigError
from deployments.weight_files import (
    OnnxGraph,
    Shape,
    one_line,
    read_json,
    read_onnx_graph,
    require_file,
    require_torch_file,
    require_yaml,
    tensor_shapes,
)

MODEL_TYPE = "step_audio_2"
CONFIG = "config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
INDEX = "model.safetensors.index.json"
SPEECH_TOKENIZER = "speech_tokenizer_v2_25hz.onnx"
SPEAKER_ENCODER = "campplus.onnx"
FLOW_CONFIG = "flow.yaml"
FLOW = "flow.pt"
VOCODER = "hift.pt"
SPECTRUM_BANDS = 128  # of the speech tokenizer's `feats` [1, 128, T]
FBANK_BANDS = 80  # of the speaker encoder's input [B, T, 80]


def check_thinker(root: Path, *, weights: bool = True) -> None:
    """Check the configuration, the tokenizer and, where vLLM will read them, the weights.

    Raises:
        ConfigError: a file is missing, cut or damaged, or does not fit the others.
    """
    for name in (CONFIG, TOKENIZER_CONFIG):
        require_file(root / name)
    config = read_json(root / CONFIG)
    if config.get("model_type") != MODEL_TYPE:
        found = config.get("model_type")
        raise ConfigError(f"{root / CONFIG} has the model_type {found!r}, not {MODEL_TYPE!r}")
    for section in ("text_config", "audio_encoder_config"):
        if not isinstance(config.get(section), dict):
            raise ConfigError(f"{root / CONFIG} has no {section}")
    read_tokenizer(root)
    if weights and (shapes := _weights(root)):
        _check_shapes(root, config["text_config"], shapes)


def check_token2wav(folder: Path) -> None:
    """Check the flow, the vocoder and the two ONNX models.

    Raises:
        ConfigError: a file is missing, cut or damaged, or is another model.
    """
    for name in (SPEECH_TOKENIZER, SPEAKER_ENCODER, FLOW_CONFIG, FLOW, VOCODER):
        require_file(folder / name)
    require_yaml(folder / FLOW_CONFIG)
    require_torch_file(folder / FLOW)
    require_torch_file(folder / VOCODER)
    check_speech_tokenizer(folder / SPEECH_TOKENIZER, read_onnx_graph(folder / SPEECH_TOKENIZER))
    check_speaker_encoder(folder / SPEAKER_ENCODER, read_onnx_graph(folder / SPEAKER_ENCODER))


def check_speech_tokenizer(path: Path, graph: OnnxGraph) -> None:
    """Raise ConfigError that names `path` where `graph` does not take spectra and give codes."""
    bands = graph.inputs.get("feats", ())[1:2]
    is_right = {"feats", "feats_length"} <= set(graph.inputs) and graph.outputs == 1
    if not is_right or bands not in ((SPECTRUM_BANDS,), (None,)):
        raise ConfigError(f"{path} is another model than the speech tokenizer")


def check_speaker_encoder(path: Path, graph: OnnxGraph) -> None:
    """Raise ConfigError that names `path` where `graph` does not take features of a voice."""
    bands = next(iter(graph.inputs.values()), ())[2:]
    is_right = "feats" not in graph.inputs and graph.outputs == 1
    if not is_right or bands not in ((FBANK_BANDS,), (None,)):
        raise ConfigError(f"{path} is another model than the speaker encoder")


def read_tokenizer(root: Path) -> Tokenizer | None:
    """The tokenizer of `tokenizer.json`; None where a checkpoint has only what makes one.

    Raises:
        ConfigError: a file is missing or damaged.
    """
    read_json(root / TOKENIZER_CONFIG)
    path = root / "tokenizer.json"
    if not path.exists() and (root / "vocab.json").exists():
        read_json(root / "vocab.json")
        require_file(root / "merges.txt")
        return None
    require_file(path)
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more special
        raise ConfigError(f"{path} is no tokenizer: {one_line(error)}") from error


def _weights(root: Path) -> dict[str, Shape]:
    """The tensors of all shards, by name; none where they are in a format of another loader.

    Raises:
        ConfigError: a shard is missing, cut or damaged, or lacks what the index says it holds.
    """
    if (root / INDEX).exists():
        return _indexed(root)
    files = sorted(root.glob("*.safetensors"))
    if not files and not any(root.glob("*.bin")):
        raise ConfigError(f"the model directory {root} has no weights: no *.safetensors")
    return {name: shape for file in files for name, shape in tensor_shapes(file).items()}


def _indexed(root: Path) -> dict[str, Shape]:
    where = read_json(root / INDEX).get("weight_map")
    if not isinstance(where, dict) or not where:
        raise ConfigError(f"{root / INDEX} has no weight_map")
    shards = {file: tensor_shapes(root / str(file)) for file in sorted(set(where.values()))}
    for name, file in where.items():
        if name not in shards[file]:
            raise ConfigError(f"{root / file} lacks {name}, which {INDEX} says it holds")
    return {name: shape for shard in shards.values() for name, shape in shard.items()}


def _check_shapes(root: Path, text: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
    """Compare the weights with the configuration's sizes; those that it leaves out are not."""
    needed = ["model.embed_tokens.weight", "encoder.conv1.weight", "adapter.linear2.weight"]
    if not text.get("tie_word_embeddings"):
        needed.append("lm_head.weight")
    layers = _size(root, text, "num_hidden_layers") or 0
    needed += [f"model.layers.{layer}.input_layernorm.weight" for layer in range(layers)]
    for name in needed:
        if name not in shapes:
            raise ConfigError(f"the weights in {root} lack {name}")
    vocabulary, width = _size(root, text, "vocab_size"), _size(root, text, "hidden_size")
    found = shapes["model.embed_tokens.weight"]
    if len(found) != 2 or vocabulary not in (None, found[0]) or width not in (None, found[1]):
        raise ConfigError(
            f"{root / CONFIG} does not fit the weights: model.embed_tokens.weight is "
            f"{list(found)}, not [{vocabulary}, {width}]"
        )


def _size(root: Path, text: Mapping[str, Any], key: str) -> int | None:
    value = text.get(key)
    if value is not None and (not isinstance(value, int) or not 0 < value < 1 << 31):
        raise ConfigError(f"{root / CONFIG}: text_config.{key} is {value!r}, not a size")
    return value
