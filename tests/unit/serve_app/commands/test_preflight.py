"""What cannot work is one line, before Ray is started."""

import os
import shutil
import socket
from pathlib import Path

import pytest
import torch

from deployments.errors import ConfigError
from serve_app.commands import end2end
from serve_app.commands.cli import main
from serve_app.commands.preflight import require_cluster, require_model, require_ray_folder
from serve_app.config import AppConfig
from tests.places import CONFIGS, NANO

CPU = str(CONFIGS / "cpu.yaml")
SPEAK = ("end2end", "--query-type", "text_to_audio", "--stage-configs-path", CPU)
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def start_ray(address: str | None) -> float:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(end2end, "start_ray", start_ray)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def nano(tmp_path: Path) -> Path:
    return Path(shutil.copytree(NANO, tmp_path / "nano"))


def said(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that was refused."""
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    error = capsys.readouterr().err
    assert left.value.code == 2
    assert error.startswith("step-audio2: ") and error.count("\n") == 1
    return error


def test_what_can_work_reaches_ray() -> None:
    with pytest.raises(AssertionError, match="Ray was started"):
        main(list(SPEAK))


@pytest.mark.parametrize("output", ["file", "file/below", "/dev/null/below", "/proc/nowhere"])
def test_an_output_folder_that_can_be_none(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    assert output in said((*SPEAK, "--output-dir", output), capsys)


def test_an_output_folder_with_an_earlier_run(capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    Path("out/results.jsonl").write_text("mine")
    assert "--overwrite" in said((*SPEAK, "--output-dir", "out"), capsys)
    assert Path("out/results.jsonl").read_text() == "mine"
    with pytest.raises(AssertionError, match="Ray was started"):
        main([*SPEAK, "--output-dir", "out", "--overwrite"])
    assert Path("out/results.jsonl").read_text() == "mine"  # until there is something in its place


@pytest.mark.parametrize("content", [b"", b"a: [", "é: 1".encode("latin-1"), b"- 1", b"model: 1"])
def test_a_configuration_that_can_be_none(
    content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("c.yaml").write_bytes(content)
    arguments = ("end2end", "--query-type", "text_to_audio", "--stage-configs-path", "c.yaml")
    assert said(arguments, capsys)


@pytest.mark.parametrize("text", ["", "  ", "…", os.fsdecode(b"caf\xe9")])
def test_a_text_that_is_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--text" in said((*SPEAK, "--text", text), capsys)


@pytest.mark.parametrize("option", ["--audio-path", "--model", "--stage-configs-path"])
@pytest.mark.parametrize("path", ["~nobody-of-this-name/a", "long" * 100, "a/" * 3000, "a\udcff"])
def test_a_path_that_can_be_none(option: str, path: str, capsys) -> None:
    assert said(("end2end", option, path), capsys)


@pytest.mark.parametrize("address", ["nonsense", "http://a:1", "127.0.0.1:99999", "127.0.0.1:port"])
def test_an_address_of_no_cluster(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert address in said((*SPEAK, "--ray-address", address), capsys)


def test_a_cluster_that_is_gone_is_found_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ConfigError, match="no Ray cluster"):
            require_cluster(address)
        free.listen()
        require_cluster(address)
    require_cluster("auto")


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_temporary_folder_that_is_too_long_for_a_socket(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / ("long" * 20)))
    assert variable in said(SPEAK, capsys)


def test_the_longest_temporary_folder_that_ray_takes_is_let_through(tmp_path: Path) -> None:
    from ray._private.utils import validate_socket_filepath

    name = f"/ray/session_2026-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store"
    longest = "/tmp/" + "x" * (107 - len("/tmp/") - len(name))
    validate_socket_filepath(longest + name)
    with pytest.raises(OSError):
        validate_socket_filepath(longest + "x" + name)
    try:
        require_ray_folder({"TMPDIR": longest})
        with pytest.raises(ConfigError):
            require_ray_folder({"TMPDIR": longest + "x"})
    finally:
        shutil.rmtree(longest)


def test_a_temporary_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TMPDIR"):
        require_ray_folder({"TMPDIR": "/proc/nowhere"})


@pytest.mark.parametrize(
    "name",
    ["config.json", "model-00001-of-00001.safetensors", "tokenizer.json", "token2wav/flow.pt"],
)
def test_a_model_with_a_file_that_git_lfs_did_not_fetch(
    name: str, nano: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (nano / name).write_bytes(POINTER)
    error = said((*SPEAK, "--model", str(nano)), capsys)
    assert str(nano / name) in error and "git lfs pull" in error


def test_a_flow_of_another_shape(nano: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = nano / "token2wav" / "flow.pt"
    weights = torch.load(path, weights_only=True)
    torch.save({name: value[..., :1].clone() for name, value in weights.items()}, path)
    error = said((*SPEAK, "--model", str(nano)), capsys)
    assert str(path) in error and "does not fit" in error


def test_a_tokenizer_without_the_models_tokens(nano: Path, capsys) -> None:
    path = nano / "tokenizer.json"
    path.write_text(path.read_text().replace("<tts_start>", "<tts_begin>"))
    assert "<tts_start>" in said((*SPEAK, "--model", str(nano)), capsys)


def test_a_voice_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.yaml").write_text(
        "{model: configs/nano, token2wav: {voices: {me: nowhere.wav}, device: cpu}}"
    )
    arguments = ("end2end", "--query-type", "text_to_audio", "--stage-configs-path", "c.yaml")
    assert "nowhere.wav" in said(arguments, capsys)


def test_transcribing_needs_no_token2wav(nano: Path) -> None:
    shutil.rmtree(nano / "token2wav")
    arguments = ["end2end", "--stage-configs-path", CPU, "--model", str(nano)]
    with pytest.raises(AssertionError, match="Ray was started"):
        main(arguments)


def test_fake_stages_need_no_model() -> None:
    fake = {"engine": "fake"}
    config = AppConfig.model_validate({"model": "none", "thinker": fake, "token2wav": fake})
    assert require_model(config) is None
