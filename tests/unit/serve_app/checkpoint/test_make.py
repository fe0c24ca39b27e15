"""A made directory is complete, small, reproducible, and honest about what it is."""

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors import safe_open

from deployments.errors import ConfigError
from deployments.model_files import ModelFiles
from serve_app.checkpoint import make_checkpoint
from tests.small_disk import files_of_at_most
from tests.unit.serve_app.checkpoint.conftest import Made


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def tensor_names(root: Path) -> set[str]:
    names: set[str] = set()
    for path in root.glob("*.safetensors"):
        with safe_open(path, "pt") as shard:
            names |= set(shard.keys())
    return names


def test_tiny_is_complete(tiny: Made) -> None:
    ModelFiles(tiny.root).require()


def test_tiny_is_under_30_mb_and_made_in_seconds(tiny: Made) -> None:
    assert sum(path.stat().st_size for path in tiny.root.rglob("*")) < 30e6
    assert tiny.seconds < 20  # 0.3 s on a quiet machine


def test_each_step_is_reported(tiny: Made) -> None:
    assert [message.split(",")[0] for message in tiny.messages] == [
        "tokenizer",
        "speech tokenizer and speaker encoder",
        "flow",
        "vocoder",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]


def test_same_seed_gives_the_same_files(tiny: Made, tmp_path: Path) -> None:
    make_checkpoint(tmp_path, size="tiny")
    assert digests(tmp_path) == digests(tiny.root)


def test_another_seed_changes_every_weight_file_and_no_other(tiny: Made, tmp_path: Path) -> None:
    make_checkpoint(tmp_path, size="tiny", seed=1)
    first, second = digests(tiny.root), digests(tmp_path)
    assert first.keys() == second.keys()
    changed = {name for name in first if first[name] != second[name]}
    weights = {name for name in first if name.endswith((".pt", ".onnx", ".safetensors"))}
    assert changed == weights | {"README.md"}  # the card names the seed


def test_index_names_every_tensor_and_its_shard(tiny: Made) -> None:
    index = json.loads((tiny.root / "model.safetensors.index.json").read_text())
    shards = {path.name for path in tiny.root.glob("*.safetensors")}
    assert set(index["weight_map"].values()) == shards and len(shards) > 1
    for file in shards:
        with safe_open(tiny.root / file, "pt") as shard:
            listed = {name for name, at in index["weight_map"].items() if at == file}
            assert set(shard.keys()) == listed


def test_weights_can_be_read_by_any_user(tiny: Made) -> None:
    assert all(path.stat().st_mode & 0o004 for path in tiny.root.rglob("*") if path.is_file())


def test_without_llm_weights_only_the_audio_part_is_written(tiny: Made, tmp_path: Path) -> None:
    make_checkpoint(tmp_path, size="tiny", llm_weights=False)
    ModelFiles(tmp_path).require(weights=False)
    audio = {name for name in tensor_names(tiny.root) if name.startswith(("encoder.", "adapter."))}
    assert tensor_names(tmp_path) == audio
    assert "load_format: dummy" in (tmp_path / "README.md").read_text()


def test_remaking_leaves_no_shard_of_before(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, size="tiny")
    make_checkpoint(tmp_path, size="tiny", llm_weights=False, overwrite=True)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    shards = {path.name for path in tmp_path.glob("*.safetensors")}
    assert shards == set(index["weight_map"].values())


def test_a_model_that_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    for name in ("config.json", "model-00001-of-00001.safetensors"):
        (tmp_path / name).write_text("mine")
    before = digests(tmp_path)
    with pytest.raises(ConfigError, match="--overwrite") as refused:
        make_checkpoint(tmp_path, size="tiny")
    assert str(tmp_path) in str(refused.value)
    assert digests(tmp_path) == before


def test_overwriting_replaces_the_model_and_leaves_other_files(tiny: Made, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "model-00001-of-00009.safetensors").touch()
    make_checkpoint(tmp_path, size="tiny", overwrite=True)
    notes = digests(tmp_path).pop("notes.txt")
    assert digests(tmp_path) == digests(tiny.root) | {"notes.txt": notes}


def test_a_disk_that_becomes_full_leaves_what_was_there(tmp_path: Path) -> None:
    for size_bytes in (1_000, 300_000, 3_000_000):  # the tokenizer, the flow, a shard
        with files_of_at_most(size_bytes), pytest.raises(ConfigError) as refused:
            make_checkpoint(tmp_path / "model", size="tiny")
        assert "cannot be written" in str(refused.value) and "\n" not in str(refused.value)
        assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_found_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10_000_000_000))
    with pytest.raises(ConfigError, match=r"takes 16\.\d GB and more, the disk has 10\.0"):
        make_checkpoint(tmp_path / "model", size="full")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file", "file/below", "/proc/nowhere"])
def test_a_place_where_no_directory_can_be_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as refused:
        make_checkpoint(tmp_path / name, size="tiny")
    assert "\n" not in str(refused.value)


def test_card_says_that_it_is_noise(tiny: Made) -> None:
    assert "Random weights: noise, not speech" in (tiny.root / "README.md").read_text()


def test_unknown_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="huge"):
        make_checkpoint(tmp_path, size="huge")  # type: ignore[arg-type]
