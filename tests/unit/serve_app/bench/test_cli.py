"""The command as a person types it, its files included."""

import asyncio
import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployments.errors import ConfigError
from serve_app.bench import report
from serve_app.bench.cli import bench_app
from serve_app.checkpoint import make_checkpoint
from serve_app.server_url import api_url
from tests.places import NANO as CHECKPOINT
from tests.unit.serve_app.bench.fake_server import Script, serving

NANO = str(CHECKPOINT)
FAST = ("--no-own-overhead", "--warmup", "0")


async def run(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, bench_app, list(arguments))


async def test_bench_without_a_command_measures_an_endpoint(tmp_path: Path) -> None:
    out = tmp_path / "new" / "result.json"
    async with serving(Script(refuse_every=6)) as base_url:
        result = await run(
            *("--base-url", base_url, "--concurrency", "1,2", "--rate", "50", "--requests", "4"),
            *("--json", str(out), *FAST, "--speech-share", "0.5"),
        )
    assert result.exit_code == 0, result.output
    assert "What a listener notices" in result.output

    found = json.loads(out.read_text())
    assert found["benchmark"] == "speech"
    assert [level["load"] for level in found["levels"]] == ["1 at once", "2 at once", "50/s"]
    outcomes = [level["summary"]["outcomes"] for level in found["levels"]]
    assert outcomes == [{"ok": 4}, {"ok": 3, "429": 1}, {"ok": 3, "429": 1}]
    good = [r for r in found["levels"][0]["requests"] if r["outcome"] == "ok"]
    assert [r["audio_s"] for r in good] == [pytest.approx(0.4)] * 4
    assert found["environment"]["packages"]["httpx"]
    assert "nearest rank" in found["definitions"]
    assert found["settings"]["speech_share"] == 0.5


async def test_what_a_server_says_of_a_refusal_is_shown() -> None:
    async with serving(Script(refuse_every=2)) as base_url:
        result = await run("--base-url", base_url, "--requests", "2", *FAST)
    assert "the server said: full" in " ".join(result.output.split())


async def test_the_key_is_sent_and_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    out = tmp_path / "result.json"
    script = Script()
    async with serving(script) as base_url:
        await run("--base-url", base_url, "--requests", "1", "--json", str(out), *FAST)
    assert script.keys == {"Bearer sk-secret"}
    assert "sk-secret" not in out.read_text()


async def test_a_plot_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `bench` is not installed")
    plot = tmp_path / "result.png"
    async with serving(Script()) as base_url:
        result = await run(
            *("--base-url", base_url, "--requests", "2", "--concurrency", "1,2"),
            *("--plot", str(plot), *FAST),
        )
    assert result.exit_code == 0, result.output
    assert plot.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


async def test_no_success_at_all_is_a_failure_of_the_command() -> None:
    result = await run("--base-url", "http://127.0.0.1:9/v1", "--requests", "1", *FAST)
    assert result.exit_code == 1
    assert "No request succeeded" in result.output
    assert "no connection: 1" in result.output


WRONG_OUTPUTS = {
    "a folder": ("--json", ".", "is a folder"),
    "below a file": ("--json", "file/result.json", "is a file, not a folder"),
    "nowhere": ("--json", "/proc/nowhere/result.json", "cannot be written"),
    "an earlier result": ("--json", "file", "--overwrite"),
    "a plot that is a folder": ("--plot", "folder.png", "is a folder"),
    "an earlier plot": ("--plot", "file.png", "--overwrite"),
    "a plot of no format": ("--plot", "result.doc", "names no format"),
}


@pytest.mark.parametrize("name", WRONG_OUTPUTS)
async def test_an_output_that_cannot_be_is_found_before_anything_is_sent(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    option, path, said = WRONG_OUTPUTS[name]
    monkeypatch.chdir(tmp_path)
    for earlier in ("file", "file.png"):
        Path(earlier).write_text("mine")
    Path("folder.png").mkdir()
    script = Script()
    async with serving(script) as base_url:
        result = await run("--base-url", base_url, "--requests", "1", option, path, *FAST)
    assert isinstance(result.exception, ConfigError)
    assert said in str(result.exception) and "\n" not in str(result.exception)
    assert not script.bodies
    assert Path("file").read_text() == Path("file.png").read_text() == "mine"


async def test_an_earlier_result_is_replaced_where_that_is_wanted(tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    out.write_text("mine")
    async with serving(Script()) as base_url:
        where = ("--base-url", base_url, "--json", str(out), "--overwrite")
        result = await run(*where, "--requests", "1", *FAST)
    assert result.exit_code == 0, result.output
    assert json.loads(out.read_text())["benchmark"] == "speech"


async def test_figures_outlive_a_disk_that_becomes_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare = tmp_path / "spare"
    spare.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spare))

    def write_whole(path: Path, data: bytes) -> None:
        if path.parent != spare:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        path.write_bytes(data)

    monkeypatch.setattr(report, "write_whole", write_whole)
    async with serving(Script()) as base_url:
        where = ("--base-url", base_url, "--json", str(tmp_path / "result.json"))
        result = await run(*where, "--requests", "1", *FAST)
    assert result.exit_code == 1
    assert "What a listener notices" in result.output
    assert "No space left on device; the figures are in" in result.output
    (kept,) = spare.glob("*.json")
    assert json.loads(kept.read_text())["levels"]


def test_figures_are_written_in_any_locale(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from serve_app.bench import environment\n"
        "environment.gpus = list  # imports torch, which takes seconds\n"
        "from serve_app.bench.report import JsonFile\n"
        "file = JsonFile(Path(sys.argv[1]), overwrite=False)\n"
        "file.write('speech', {'voice': '\\u4f60 \\udcff'}, {})\n"
        "assert file.failure is None, file.failure"
    )
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, str(tmp_path / "r.json"), b"caf\xe9"]
    subprocess.run(command, env=environment, check=True, timeout=120)
    found = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert found["settings"]["voice"] == "你 \udcff"
    assert "÷" in found["definitions"]


async def test_a_base_url_without_scheme_or_version_is_understood(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with serving(Script()) as base_url:
        bare = base_url.removeprefix("http://").removesuffix("/v1")
        result = await run("--base-url", bare, "--requests", "1", *FAST)
    assert result.exit_code == 0, result.output
    assert "http_proxy is not used" in result.output
    with pytest.raises(ConfigError, match="base URL"):
        api_url("http://")
    refused = await run("--base-url", "127.0.0.1:99999", "--requests", "1", *FAST)
    assert isinstance(refused.exception, ConfigError)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--concurrency", "1,x"), "--concurrency"),
        (("--concurrency", "1.5"), "--concurrency"),
        (("--rate", "0"), "--rate"),
        (("--extra-body", "[1]"), "--extra-body"),
    ],
)
async def test_a_wrong_option_is_named(arguments: tuple[str, ...], named: str) -> None:
    result = await run(*arguments, *FAST)
    assert result.exit_code == 2
    assert named in result.output


async def test_token2wav_is_measured_under_the_names_of_its_engines(tmp_path: Path) -> None:
    out, tiny = tmp_path / "result.json", tmp_path / "tiny"
    make_checkpoint(tiny, size="tiny", llm_weights=False)
    result = await run(
        *(
            "token2wav",
            "--model",
            str(tiny),
            "--engines",
            "native,functional,fast",
            "--device",
            "cpu",
        ),
        *("--batches", "1", "--chunk-tokens", "5", "--steps", "1", "--warmup", "0"),
        *("--settings", '{"num_threads": 1}', "--json", str(out)),
    )
    assert result.exit_code == 0, result.output
    output = " ".join(result.output.split())  # as it was before the console wrapped it
    assert "no engine 'fast': native, reference, functional or module:Class" in output
    found = json.loads(out.read_text())
    measured = [(r["engine"], r["engine_class"], len(r["batches"])) for r in found["results"]]
    served = "FunctionalEngine"  # on a CPU
    assert measured == [("native", served, 1), ("functional", served, 1), ("fast", "", 0)]
    assert found["settings"]["token2wav"]["num_threads"] == 1


@pytest.mark.parametrize("settings", ['{"seed": 1}', '{"memory_gb": 1}', "[]"])
async def test_settings_that_the_section_has_not_or_an_option_sets_are_refused(
    settings: str,
) -> None:
    result = await run("token2wav", "--model", NANO, "--device", "cpu", "--settings", settings)
    assert result.exit_code == 2
    assert "--settings" in result.output
