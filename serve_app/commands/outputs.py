"""Where a batch writes: files of two runs never lie in one folder."""

import itertools
import re
from pathlib import Path

from deployments.errors import ConfigError
from serve_app.whole_files import reason, require_folder

DEFAULT_FOLDER = Path("output_step_audio2")
RESULTS = "results.jsonl"
_OURS = re.compile(r"\d{5,}_(?:text\.txt|output\.wav)")


def text_name(index: int) -> str:
    return f"{index:05d}_text.txt"


def sound_name(index: int) -> str:
    return f"{index:05d}_output.wav"


def choose_folder(wanted: Path | None, *, overwrite: bool) -> Path:
    """The folder of a run; made where it is missing.

    Where none is wanted it is `output_step_audio2` or, where that has an earlier run's files,
    `output_step_audio2-2` and so on.

    Raises:
        ConfigError: it cannot be written, or has an earlier run's files, which `overwrite` deletes.
    """
    folder = wanted if wanted is not None else _free(DEFAULT_FOLDER, overwrite=overwrite)
    require_folder(folder, "--output-dir")
    if earlier_files(folder) and not overwrite:
        raise ConfigError(
            f"--output-dir {folder} has the results of an earlier run; --overwrite deletes them"
        )
    return folder


def earlier_files(folder: Path) -> list[Path]:
    """What an earlier run wrote into `folder`; other files are none of ours."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.name == RESULTS or _OURS.fullmatch(path.name)]


def delete_earlier_files(folder: Path) -> None:
    """Raises ConfigError where one cannot be deleted."""
    for path in earlier_files(folder):
        try:
            path.unlink()
        except OSError as error:
            raise ConfigError(f"{path} cannot be deleted: {reason(error)}") from error


def _free(folder: Path, *, overwrite: bool) -> Path:
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    candidates = itertools.chain([folder], numbered)
    return next(path for path in candidates if overwrite or not earlier_files(path))
