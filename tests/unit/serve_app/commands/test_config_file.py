"""A YAML that cannot be used is refused in one line."""

from pathlib import Path

import pytest

from deployments.errors import ConfigError
from serve_app.commands.config_file import read_configuration
from tests.places import CONFIGS

WRONG_FILES = {
    "empty": (b"", "is empty"),
    "only a comment": (b"# nothing\n", "is empty"),
    "broken": (b"a: 1\nb: [", "is not YAML: line 2, column 5"),
    "a tab": (b"a:\n\t- 1", "is not YAML: line 2, column 1"),
    "latin-1": ("voice: Zo\u00eb".encode("latin-1"), "is not UTF-8"),
    "a control character": (b"a: \x00", "is not YAML"),
    "too deep": (b"[" * 3000, "is not YAML"),
    "a date that is none": (b"a: 2024-99-99", "is not YAML"),
    "a Python object": (b"a: !!python/object:os.system {}", "is not YAML"),
    "a list": (b"- 1\n- 2\n", "holds no keys"),
    "a word": (b"model", "holds no keys"),
}
WRONG_APPLICATIONS = (
    "applications:",
    "applications: []",
    "applications: {args: {}}",
    "applications: [nothing]",
    "applications: [{name: a}]",
    "applications: [{args: }]",
    "applications: [{args: [1]}]",
)
WRONG_HTTP = {
    "http_options:": "http_options is empty",
    "http_options: 8000": "http_options is 8000",
    "http_options: [a]": "http_options is",
    "http_options: {port: 99999}": "1 to 65535, not 99999",
    "http_options: {port: 0}": "1 to 65535, not 0",
    "http_options: {port: '8000'}": "1 to 65535, not '8000'",
    "http_options: {port: }": "1 to 65535, not None",
    "http_options: {port: true}": "1 to 65535, not True",
}


def said(path: Path, attribute: str | None = None) -> str:
    with pytest.raises(ConfigError) as refused:
        configuration = read_configuration(path)
        getattr(configuration, attribute or "path")
    message = str(refused.value)
    assert path.name in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_file_that_is_no_mapping_is_named_with_the_reason(tmp_path: Path, name: str) -> None:
    content, expected = WRONG_FILES[name]
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    assert expected in said(path)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: None])
def test_a_folder_and_a_missing_file_are_named_with_the_reason(tmp_path: Path, make) -> None:
    path = tmp_path / "c.yaml"
    make(path)
    assert "cannot be read: " in said(path)


@pytest.mark.parametrize("text", WRONG_APPLICATIONS)
def test_a_file_without_arguments_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert "no application's args" in said(path, "arguments")


@pytest.mark.parametrize("text", WRONG_HTTP)
def test_http_options_that_serve_would_not_take_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert WRONG_HTTP[text] in said(path, "port")


def test_what_is_left_out_has_the_defaults_of_ray_serve(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("model: M")
    found = read_configuration(path)
    assert (found.arguments, found.host, found.port) == ({"model": "M"}, "0.0.0.0", 8000)


def test_shipped_configurations_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = read_configuration(Path("configs/cpu.yaml"))
    assert found.path == CONFIGS / "cpu.yaml"
    assert found.arguments["model"] == "configs/nano"
    assert (found.host, found.port) == ("127.0.0.1", 8000)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("model: M", "http://localhost:8000/"),
        ("http_options: {host: 127.0.0.1, port: 81}", "http://127.0.0.1:81/"),
        ("http_options: {host: '::'}", "http://localhost:8000/"),
        ("http_options: {host: '::1'}", "http://[::1]:8000/"),
        ("applications: [{route_prefix: /speech}]", "http://localhost:8000/speech/"),
    ],
)
def test_the_page_is_where_a_browser_on_this_machine_trusts_it(
    tmp_path: Path, text: str, url: str
) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text(text)
    assert read_configuration(path).page_url == url


def test_a_graph_can_be_served_at_another_address() -> None:
    read = read_configuration(CONFIGS / "cpu.yaml")
    moved = read.listening_at("0.0.0.0", None)
    assert (moved.host, moved.port) == ("0.0.0.0", 8000)
    assert (read.host, read.listening_at(None, 9000).port) == ("127.0.0.1", 9000)
    assert moved.arguments == read.arguments
    assert moved.page_url == "http://localhost:8000/"
    assert read.listening_at(None, None) is read
