"""Which files a model's name leads to."""

import logging
from pathlib import Path

import pytest

from deployments import model_files
from deployments.errors import ConfigError
from deployments.model_files import find_model, find_path
from tests.places import NANO

MINI = "stepfun-ai/Step-Audio-2-mini"


@pytest.fixture
def downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The repositories that are asked for; each is there."""
    asked: list[str] = []

    def snapshot_download(repository: str) -> str:
        asked.append(repository)
        return str(tmp_path)

    monkeypatch.setattr(model_files, "snapshot_download", snapshot_download)
    return asked


@pytest.mark.parametrize(
    "spelling", ["stepfun-ai/Step-Audio2-mini", "stepfun-ai/step_audio_2_mini"]
)
def test_another_spelling_of_a_published_name_leads_to_it_with_a_warning(
    spelling: str, downloaded: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    find_model(spelling)
    assert downloaded == [MINI]
    (warning,) = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert spelling in warning and MINI in warning


@pytest.mark.parametrize("name", [MINI, "somebody/another-model", "stepfun-ai/Step-Audio-2-large"])
def test_every_other_name_is_taken_as_it_is(
    name: str, downloaded: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    find_model(name)
    assert downloaded == [name]
    assert not caplog.records


@pytest.mark.parametrize("failure", [OSError("404\n\nRepository Not Found"), OSError("no route")])
def test_a_name_of_the_family_that_cannot_be_had_is_answered_by_the_published_one(
    failure: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot_download(repository: str) -> str:
        raise failure

    monkeypatch.setattr(model_files, "snapshot_download", snapshot_download)
    with pytest.raises(ConfigError) as refused:
        find_model("stepfun-ai/Step-Audio2-7B")
    assert MINI in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(ConfigError) as refused:
        find_model(MINI)
    assert "cannot be downloaded" in str(refused.value) and "\n" not in str(refused.value)


def test_what_is_shipped_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_model("configs/nano").root == NANO
    assert find_path("configs/nano/voices/low.wav") == NANO / "voices" / "low.wav"


def test_what_lies_here_goes_before_what_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs/nano").mkdir(parents=True)
    assert find_model("configs/nano").root == tmp_path / "configs" / "nano"
