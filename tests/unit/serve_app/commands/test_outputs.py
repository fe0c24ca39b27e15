"""Files of two runs never lie in one folder."""

from pathlib import Path

import pytest

from deployments.errors import ConfigError
from serve_app.commands.outputs import choose_folder, delete_earlier_files

EARLIER = ("results.jsonl", "00000_text.txt", "00000_output.wav", "123456_text.txt")


@pytest.mark.parametrize("name", EARLIER)
def test_a_folder_of_an_earlier_run_is_refused_unless_it_may_be_overwritten(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigError, match="--overwrite") as refused:
        choose_folder(tmp_path, overwrite=False)
    assert str(tmp_path) in str(refused.value)
    assert (tmp_path / name).read_text() == "mine"
    assert choose_folder(tmp_path, overwrite=True) == tmp_path


def test_overwriting_leaves_no_file_of_the_earlier_run_and_every_other(tmp_path: Path) -> None:
    for name in (*EARLIER, "mine.wav", "0_text.txt", "notes.txt"):
        (tmp_path / name).touch()
    delete_earlier_files(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.wav", "0_text.txt", "notes.txt"}


def test_a_folder_with_other_files_is_used(tmp_path: Path) -> None:
    (tmp_path / "question.wav").touch()
    assert choose_folder(tmp_path, overwrite=False) == tmp_path


def test_without_a_wish_each_run_has_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("output_step_audio2", "output_step_audio2-2", "output_step_audio2-3"):
        assert choose_folder(None, overwrite=False) == Path(name)
        (tmp_path / name / "results.jsonl").touch()
    assert choose_folder(None, overwrite=True) == Path("output_step_audio2")
