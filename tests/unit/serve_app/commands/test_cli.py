"""The command line's own refusals and declarations."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from serve_app.commands.cli import main
from tests.places import CONFIGS

CPU = str(CONFIGS / "cpu.yaml")


def code_of(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ["end2end", "--query-type", "sing"],
        ["end2end", "--query-type", "text_to_audio", "--audio-path", "a.wav"],
        ["end2end", "--query-type", "audio_to_text", "--text", "hello"],
        ["end2end", "--num-prompts", "0"],
        ["end2end", "--worker-backend", "threads"],
        ["make-checkpoint", "somewhere"],
        ["make-checkpoint", "somewhere", "--size", "huge"],
        ["no-such-command"],
    ],
)
def test_a_wrong_option_ends_with_2_and_no_traceback(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["end2end", "--audio-path", "nowhere.wav"],
        ["end2end", "--stage-configs-path", CPU, "--model", "./nowhere"],
        ["end2end", "--stage-configs-path", "nowhere.yaml"],
        ["demo", "--audio-path", "nowhere.wav"],
        ["demo", "--start", "nowhere.yaml"],
    ],
)
def test_a_missing_file_is_one_line_that_names_it(
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert code_of(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("step-audio2: ") and error.count("\n") == 1
    assert "nowhere" in error


def test_make_checkpoint_hands_its_options_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: dict[str, object] = {}

    def make(directory: Path, **options: object) -> None:
        given.update(options, directory=directory)

    # In place of the module, whose imports (torch, onnx) take longer than all of these tests.
    module = SimpleNamespace(make_checkpoint=make)
    monkeypatch.setitem(sys.modules, "serve_app.checkpoint", module)
    arguments = [str(tmp_path), "--size", "full", "--seed", "7", "--no-llm-weights"]
    assert code_of(["make-checkpoint", *arguments]) == 0
    assert given.pop("on_progress")
    assert given == {
        "directory": tmp_path,
        "size": "full",
        "seed": 7,
        "llm_weights": False,
        "overwrite": False,
    }
