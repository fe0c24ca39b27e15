"""What the Thinker reads of a damaged checkpoint is refused by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.errors import ConfigError
from deployments.thinker.checkpoint_reading import load_config, load_tokenizer
from tests.places import NANO


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(NANO / name, tmp_path / name)
    return tmp_path


def refusal(load: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as refused:
        load()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_whole_checkpoint_is_read(root: Path) -> None:
    assert load_tokenizer(root).token_to_id("<tts_start>") is not None
    assert load_config(root, non_finite_token_id=7).non_finite_token_id == 7


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": {}}', '{"model": {"type": "Odd"}}'])
def test_a_damaged_tokenizer_is_named(root: Path, content: str) -> None:
    (root / "tokenizer.json").write_text(content)
    assert str(root / "tokenizer.json") in refusal(lambda: load_tokenizer(root))


@pytest.mark.parametrize(
    "settings", ['{"tokenizer_class": "NoSuchTokenizer", "eos_token": 7}', "1"]
)
def test_settings_that_make_no_tokenizer_are_named(root: Path, settings: str) -> None:
    (root / "tokenizer_config.json").write_text(settings)
    assert str(root) in refusal(lambda: load_tokenizer(root))


@pytest.mark.parametrize(
    "change",
    [
        {"text_config": {"hidden_size": "wide"}},
        {"text_config": 7},
        {"audio_encoder_config": {"n_mels": []}, "text_config": [1]},
        {"model_type": "other"},
    ],
)
def test_a_configuration_that_cannot_be_used_is_named(root: Path, change: dict) -> None:
    config = json.loads((root / "config.json").read_text()) | change
    (root / "config.json").write_text(json.dumps(config))
    assert str(root) in refusal(lambda: load_config(root, non_finite_token_id=7))
