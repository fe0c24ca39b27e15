"""What `verify` says of a checkpoint before a server runs: tiny random weights, whole or broken."""

import shutil
from pathlib import Path

import pytest
import torch

from deployments.model_files import ModelFiles
from deployments.token2wav.functional.functional_engine import FunctionalEngine
from serve_app.checkpoint import make_checkpoint
from serve_app.commands.verifying.file_checks import check_files
from serve_app.commands.verifying.official_parity import check_official_parity


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    make_checkpoint(folder, size="tiny")
    return folder


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def test_a_whole_checkpoint_passes(checkpoint: Path) -> None:
    findings = check_files(ModelFiles(checkpoint))
    assert {one.check: one.verdict for one in findings} == {
        "files": "pass",
        "token ids": "pass",
        "codebook": "pass",
    }


def test_a_cut_file_is_named(copied: Path) -> None:
    path = copied / "token2wav" / "hift.pt"
    path.write_bytes(path.read_bytes()[:1000])
    (finding,) = check_files(ModelFiles(copied))
    assert (finding.check, finding.verdict) == ("files", "fail")
    assert "hift.pt" in finding.says


def test_a_tokenizer_of_another_model_is_told(copied: Path) -> None:
    path = copied / "tokenizer.json"
    path.write_text(path.read_text("utf-8").replace("<tts_start>", "<tts_begin>"), "utf-8")
    verdicts = {one.check: one for one in check_files(ModelFiles(copied))}
    assert verdicts["token ids"].verdict == "fail"
    assert "<tts_start>" in verdicts["token ids"].says


def test_token2wav_sounds_as_the_official_package(checkpoint: Path) -> None:
    pytest.importorskip("cosyvoice2.flow.flow", reason="the official step-audio2 is not installed")
    finding = check_official_parity(ModelFiles(checkpoint))
    assert finding.verdict == "pass", finding.says


def test_another_sound_than_the_official_package_s_fails(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cosyvoice2.flow.flow", reason="the official step-audio2 is not installed")
    right = FunctionalEngine.synthesize

    def a_little_late(self: FunctionalEngine, *how: object) -> torch.Tensor:
        return right(self, *how).roll(3)  # type: ignore[arg-type]

    monkeypatch.setattr(FunctionalEngine, "synthesize", a_little_late)
    finding = check_official_parity(ModelFiles(checkpoint))
    assert finding.verdict == "fail", finding.says
