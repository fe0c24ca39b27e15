"""Files that are whole or not there; on a small disk, too."""

import os
from pathlib import Path

import pytest

from deployments.errors import ConfigError
from serve_app.whole_files import LineLog, require_folder, require_new_file, write_whole
from tests.small_disk import files_of_at_most


def test_a_file_that_does_not_fit_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"old")
    with files_of_at_most(10_000), pytest.raises(OSError):
        write_whole(tmp_path / "a.wav", bytes(20_000))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.wav": b"old"}


def test_a_line_that_does_not_fit_leaves_the_lines_before(tmp_path: Path) -> None:
    with files_of_at_most(10_000), LineLog(tmp_path / "log") as log:
        log.add(b"first")
        with pytest.raises(OSError):
            log.add(bytes(20_000))
    assert (tmp_path / "log").read_bytes() == b"first\n"


def test_a_line_can_be_read_as_soon_as_it_was_added(tmp_path: Path) -> None:
    with LineLog(tmp_path / "log") as log:
        log.add(b"one")
        assert (tmp_path / "log").read_bytes() == b"one\n"


def test_a_log_is_never_that_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("mine")
    with pytest.raises(FileExistsError):
        LineLog(tmp_path / "log")
    assert (tmp_path / "log").read_text() == "mine"


def test_a_written_file_has_the_usual_permissions_and_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_device_is_written_and_not_replaced() -> None:
    write_whole(Path(os.devnull), b"x")
    assert Path(os.devnull).is_char_device()
    require_new_file(Path(os.devnull), "--json", overwrite=False)


def test_a_folder_is_made_and_stays_empty(tmp_path: Path) -> None:
    require_folder(tmp_path / "a" / "b", "--output-dir")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("name", ["file", "file/below", "/proc/nowhere"])
def test_what_can_be_no_folder_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as refused:
        require_folder(tmp_path / name, "--output-dir")
    message = str(refused.value)
    assert message.startswith(f"--output-dir {tmp_path / name} ") and "\n" not in message


def test_a_full_disk_is_found_before_anything_is_measured(tmp_path: Path) -> None:
    with files_of_at_most(0), pytest.raises(ConfigError, match="cannot be written"):
        require_folder(tmp_path, "--output-dir")
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_replaced_only_where_that_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "r.json").touch()
    with pytest.raises(ConfigError, match="--overwrite"):
        require_new_file(tmp_path / "r.json", "--json", overwrite=False)
    require_new_file(tmp_path / "r.json", "--json", overwrite=True)
    with pytest.raises(ConfigError, match="is a folder"):
        require_new_file(tmp_path, "--json", overwrite=True)
