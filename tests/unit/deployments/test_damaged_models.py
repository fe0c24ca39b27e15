"""A model that is damaged or incomplete is refused in one line that names the file."""

import json
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from deployments import model_files
from deployments.errors import ConfigError
from deployments.model_checks import MODEL_TYPE
from deployments.model_files import ModelFiles, find_model
from deployments.thinker.vllm_plugin.hf_config import StepAudio2Config
from deployments.token2wav.functional.published_weights import require_weights
from tests.places import NANO

POINTER = b"""version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 17726887
"""
SHARD = "model-00001-of-00001.safetensors"
INDEX = "model.safetensors.index.json"
TOKEN2WAV = ("flow.pt", "flow.yaml", "hift.pt", "campplus.onnx", "speech_tokenizer_v2_25hz.onnx")
NEEDED = (
    "config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    SHARD,
    *(f"token2wav/{name}" for name in TOKEN2WAV),
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of nano that costs no space: a file is replaced before it is written."""
    return Path(shutil.copytree(NANO, tmp_path / "model", copy_function=_link))


def _link(source: str, target: str) -> None:
    Path(target).symlink_to(source)


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def refusal(model: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        ModelFiles(model).require()
    message = str(refused.value)
    assert "\n" not in message and len(message) < 400
    return message


def edit_json(path: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    replace(path, json.dumps(content).encode())


def test_a_whole_model_is_accepted_without_torch(model: Path) -> None:
    ModelFiles(model).require()
    code = "from deployments.model_files import ModelFiles; from pathlib import Path; import sys\n"
    code += f"ModelFiles(Path({str(model)!r})).require(); print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (POINTER, "Git LFS pointer"),
        (b"", "is empty"),
        (None, "lacks"),
        (b"\x00 junk \xff" * 99, ""),
    ],
)
def test_each_file_is_named_whatever_is_wrong_with_it(
    model: Path, name: str, content: bytes | None, said: str
) -> None:
    (model / name).unlink()
    if content is not None:
        (model / name).write_bytes(content)
    message = refusal(model)
    assert str(model / name) in message and said in message


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_each_file_that_was_cut_is_named(model: Path, name: str, share: float) -> None:
    whole = (model / name).read_bytes()
    replace(model / name, whole[: int(share * len(whole))])
    if name.endswith("flow.yaml"):  # half a YAML may be one: its reader names what it misses
        with pytest.raises(ConfigError, match=r"flow\.yaml"):
            require_weights(model / "token2wav")
    else:
        assert str(model / name) in refusal(model)


@pytest.mark.parametrize("content", ["[]", "null", "7", '{"a": ', '{"a": "\udcff"}'])
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json", INDEX])
def test_json_that_is_none_or_no_object_is_named(model: Path, name: str, content: str) -> None:
    replace(model / name, content.encode("utf-8", "surrogateescape"))
    assert str(model / name) in refusal(model)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda config: config.update(model_type="qwen2"), "'qwen2'"),
        (lambda config: config.pop("model_type"), "None"),
        (lambda config: config.pop("text_config"), "text_config"),
        (lambda config: config.update(audio_encoder_config=[]), "audio_encoder_config"),
        (lambda config: config["text_config"].update(vocab_size="many"), "vocab_size is 'many'"),
        (lambda config: config["text_config"].update(num_hidden_layers=-1), "num_hidden_layers"),
        (lambda config: config["text_config"].update(num_hidden_layers=6), "model.layers.5."),
        (lambda config: config["text_config"].update(hidden_size=512), "does not fit the weights"),
        (lambda config: config["text_config"].update(vocab_size=9000), "does not fit the weights"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    model: Path, change: Callable[[dict], None], said: str
) -> None:
    edit_json(model / "config.json", change)
    message = refusal(model)
    assert said in message and str(model) in message


def test_a_shard_that_the_index_names_must_be_there(model: Path) -> None:
    edit_json(
        model / INDEX,
        lambda index: index["weight_map"].update({"lm_head.weight": "model-00002.safetensors"}),
    )
    assert str(model / "model-00002.safetensors") in refusal(model)


def test_a_shard_must_hold_what_the_index_says(model: Path) -> None:
    edit_json(model / INDEX, lambda index: index["weight_map"].update({"one.more": SHARD}))
    message = refusal(model)
    assert SHARD in message and "one.more" in message


def test_an_index_without_a_map_is_named(model: Path) -> None:
    replace(model / INDEX, b'{"metadata": {}}')
    assert INDEX in refusal(model)


def test_a_shard_with_a_header_that_lies_is_named(model: Path) -> None:
    whole = (model / SHARD).read_bytes()
    replace(model / SHARD, struct.pack("<Q", 1 << 62) + whole[8:])
    assert SHARD in refusal(model)


def test_weights_without_an_index_are_checked_as_well(model: Path) -> None:
    (model / INDEX).unlink()
    ModelFiles(model).require()
    replace(model / SHARD, (model / SHARD).read_bytes()[:-1])
    assert SHARD in refusal(model)
    (model / SHARD).unlink()
    assert "no weights" in refusal(model)


def test_weights_that_vllm_makes_up_need_not_be_there(model: Path) -> None:
    for name in (INDEX, SHARD):
        (model / name).unlink()
    ModelFiles(model).require(weights=False)


def test_a_stage_that_does_not_run_needs_no_files(model: Path) -> None:
    shutil.rmtree(model / "token2wav")
    ModelFiles(model).require(token2wav=False)
    (model / "config.json").unlink()
    shutil.copytree(NANO / "token2wav", model / "token2wav")
    ModelFiles(model).require(thinker=False)


def test_two_onnx_models_that_changed_places_are_found(model: Path) -> None:
    folder = model / "token2wav"
    for name, other in (
        ("campplus.onnx", "speech_tokenizer_v2_25hz.onnx"),
        ("speech_tokenizer_v2_25hz.onnx", "campplus.onnx"),
    ):
        replace(folder / name, (NANO / "token2wav" / other).read_bytes())
        assert f"{folder / name} is another model" in refusal(model)
        replace(folder / name, (NANO / "token2wav" / name).read_bytes())


def test_a_zip_archive_without_tensors_is_named(model: Path) -> None:
    (model / "token2wav" / "flow.pt").unlink()
    with zipfile.ZipFile(model / "token2wav" / "flow.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "flow.pt is a zip archive, but holds no tensors" in refusal(model)


def test_a_tokenizer_of_vocabulary_and_merges_is_accepted_and_must_be_whole(model: Path) -> None:
    vocabulary = json.loads((model / "tokenizer.json").read_text())["model"]
    (model / "tokenizer.json").unlink()
    (model / "vocab.json").write_text(json.dumps(vocabulary["vocab"]))
    assert "merges.txt" in refusal(model)
    (model / "merges.txt").write_text("#version: 0.2\n")
    ModelFiles(model).require()


def saved(model: Path, name: str, change: Callable[[dict], None]) -> Path:
    path = model / "token2wav" / name
    weights = torch.load(path, weights_only=True)
    change(weights)
    path.unlink()
    torch.save(weights, path)
    return path


@pytest.mark.parametrize("name", ["flow.pt", "hift.pt"])
def test_weights_of_another_shape_are_named_with_both_shapes(model: Path, name: str) -> None:
    require_weights(model / "token2wav")

    def halve_all(weights: dict) -> None:
        for key, value in weights.items():
            if value.ndim == 1 and len(value) % 2 == 0:
                weights[key] = value[: len(value) // 2].clone()

    path = saved(model, name, halve_all)
    with pytest.raises(ConfigError) as refused:
        require_weights(model / "token2wav")
    message = str(refused.value)
    assert message.startswith(f"{path} ") and "not [" in message and " more" in message
    assert "\n" not in message and len(message) < 400


@pytest.mark.parametrize(
    "content",
    [{"a": 1}, [1, 2], {"a": torch.nn.Linear(1, 1)}, torch.zeros(3)],
    ids=["numbers", "a list", "a module", "a tensor"],
)
def test_what_is_no_weights_is_refused_without_advice_to_run_it(
    model: Path, content: object
) -> None:
    path = model / "token2wav" / "flow.pt"
    path.unlink()
    torch.save(content, path)
    with pytest.raises(ConfigError) as refused:
        require_weights(model / "token2wav")
    message = str(refused.value)
    assert message.startswith(f"{path} ") and "\n" not in message
    assert "weights_only" not in message


@pytest.mark.parametrize(
    "old_new",
    [("depth: 6", "depth: x"), ("num_heads: 3", "num_heads: 0"), ("head_dim: 64", "head_dim: 5")],
)
def test_sizes_in_flow_yaml_that_no_network_has_are_named(
    model: Path, old_new: tuple[str, str]
) -> None:
    path = model / "token2wav" / "flow.yaml"
    replace(path, path.read_text().replace(*old_new).encode())
    with pytest.raises(ConfigError) as refused:
        require_weights(model / "token2wav")
    assert str(model / "token2wav") in str(refused.value) and "\n" not in str(refused.value)


def test_an_incomplete_download_says_how_to_complete_it(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "stepfun-ai/Step-Audio-2-mini"
    monkeypatch.setattr(model_files, "snapshot_download", lambda repository: str(model))
    files = find_model(name)
    files.require()
    (model / SHARD).unlink()
    with pytest.raises(ConfigError) as refused:
        files.require()
    assert SHARD in str(refused.value)
    assert f"hf download {name}" in str(refused.value)


def test_a_model_that_is_a_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="is a file"):
        find_model(str(NANO / SHARD))


def test_the_type_that_is_checked_is_that_of_the_configuration() -> None:
    assert StepAudio2Config.model_type == MODEL_TYPE
