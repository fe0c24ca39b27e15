"""Prompts through the fake engines."""

import asyncio
import io
import json
import os
import wave
from pathlib import Path
from typing import Any

import pytest

from deployments.chunker import ChunkSchedule
from deployments.errors import ConfigError
from deployments.thinker.fake import FakeThinkerEngine, audio_tokens_of
from deployments.token2wav.fake import FakeSynthesizer
from serve_app.commands.end2end import Options, make_config, make_jobs, summary
from serve_app.commands.prompt_statistics import statistics_table
from serve_app.commands.prompts import (
    Job,
    PromptRun,
    QueryType,
    Result,
    ResultsNotWritten,
    run_prompts,
)
from serve_app.commands.recordings import find_recordings
from serve_app.graph.fake import FakeServeBackend
from tests.integration.http.helpers import wav_of
from tests.places import CONFIGS
from tests.small_disk import files_of_at_most

SCHEDULE = ChunkSchedule()
CPU = CONFIGS / "cpu.yaml"


async def run(prompts: PromptRun, sources: list[str], **engine: Any) -> list[Result]:
    backend = FakeServeBackend(FakeThinkerEngine(**engine), FakeSynthesizer(SCHEDULE))
    jobs = [Job(index, source) for index, source in enumerate(sources)]
    return await run_prompts(prompts, jobs, backend, concurrency=4, on_result=lambda result: None)


async def test_speech_writes_a_text_and_a_24_khz_wav_for_each_prompt(tmp_path: Path) -> None:
    results = await run(PromptRun(QueryType.TEXT_TO_AUDIO, tmp_path), ["One", "Two and three"])
    for index, text in enumerate(["One", "Two and three"]):
        assert (tmp_path / f"{index:05d}_text.txt").read_text() == text + "\n"
        with wave.open(io.BytesIO((tmp_path / f"{index:05d}_output.wav").read_bytes())) as wav:
            assert wav.getframerate() == 24_000
            assert wav.getnframes() == 960 * len(audio_tokens_of(text))
    assert [result.error for result in results] == [None, None]


async def test_transcripts_write_no_wav(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav_of(1.5))
    out = tmp_path / "out"
    await run(PromptRun(QueryType.AUDIO_TO_TEXT, out), [str(tmp_path / "a.wav")])
    assert (out / "00000_text.txt").read_text() == "heard 1.50 s\n"
    assert not list(out.glob("*.wav"))


async def test_one_bad_file_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "good.wav").write_bytes(wav_of(1))
    (tmp_path / "bad.wav").write_bytes(b"junk")
    sources = [str(tmp_path / name) for name in ("bad.wav", "missing.wav", "good.wav")]
    out = tmp_path / "out"
    results = await run(PromptRun(QueryType.AUDIO_TO_AUDIO, out), sources)
    assert [result.error is None for result in results] == [False, False, True]
    assert "AudioUnreadable" in (results[0].error or "")
    assert sorted(path.name for path in out.iterdir()) == [
        "00002_output.wav",
        "00002_text.txt",
        "results.jsonl",
    ]


async def test_results_say_which_source_each_number_came_from(tmp_path: Path) -> None:
    await run(PromptRun(QueryType.TEXT_TO_AUDIO, tmp_path), ["One", "Two"])
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    sources = {json.loads(line)["index"]: json.loads(line)["source"] for line in lines}
    assert sources == {0: "One", 1: "Two"}


async def test_a_result_is_on_disk_before_the_next_job_begins(tmp_path: Path) -> None:
    lines: list[int] = []

    def look(result: Result) -> None:
        lines.append(len((tmp_path / "results.jsonl").read_text().splitlines()))
        assert (tmp_path / f"{result.index:05d}_output.wav").is_file()

    backend = FakeServeBackend(FakeThinkerEngine(), FakeSynthesizer(SCHEDULE))
    jobs = [Job(index, "word") for index in range(3)]
    prompts = PromptRun(QueryType.TEXT_TO_AUDIO, tmp_path)
    await run_prompts(prompts, jobs, backend, concurrency=1, on_result=look)
    assert lines == [1, 2, 3]


async def test_an_earlier_runs_results_are_never_touched(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text("mine")
    with pytest.raises(ResultsNotWritten, match=r"results\.jsonl") as refused:
        await run(PromptRun(QueryType.TEXT_TO_AUDIO, tmp_path), ["One"])
    assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]
    assert (tmp_path / "results.jsonl").read_text() == "mine"


async def test_on_a_full_disk_no_cut_wav_has_its_name_and_the_failure_is_a_result(
    tmp_path: Path,
) -> None:
    short, long = "One", "One " * 50  # 23 and 1536 kB
    with files_of_at_most(100_000):
        results = await run(PromptRun(QueryType.TEXT_TO_AUDIO, tmp_path), [long, short])
    assert [result.error is None for result in results] == [False, True]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "00001_output.wav",
        "00001_text.txt",
        "results.jsonl",
    ]


async def test_a_disk_that_takes_no_results_ends_the_run_in_one_line(tmp_path: Path) -> None:
    with files_of_at_most(0), pytest.raises(ResultsNotWritten) as refused:
        await run(PromptRun(QueryType.TEXT_TO_AUDIO, tmp_path), ["One", "Two"])
    assert "results.jsonl" in str(refused.value) and "\n" not in str(refused.value)
    assert (tmp_path / "results.jsonl").read_bytes() == b""


async def test_a_file_name_that_is_no_unicode_is_a_source_like_any_other(tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    Path(odd).write_bytes(wav_of(1))
    out = tmp_path / "out"
    results = await run(PromptRun(QueryType.AUDIO_TO_TEXT, out), [odd, odd])
    assert [result.error for result in results] == [None, None]
    lines = (out / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["source"] for line in lines] == [odd, odd]


async def test_an_answer_that_was_cut_at_the_limit_says_so(tmp_path: Path) -> None:
    prompts = PromptRun(QueryType.TEXT_TO_AUDIO, tmp_path, max_tokens=8)
    results = await run(prompts, ["One", "A"])
    assert [result.finish_reason for result in results] == ["length", "stop"]
    written = (tmp_path / "results.jsonl").read_text().splitlines()
    reasons = {json.loads(line)["index"]: json.loads(line)["finish_reason"] for line in written}
    assert reasons == {0: "length", 1: "stop"}
    assert summary(results) == "2 of 2 done, 1 of them cut at the token limit"
    assert list(statistics_table(results, 1.0).columns[1].cells)[1] == "1"


def test_a_text_to_speak_may_be_as_long_as_it_takes(tmp_path: Path) -> None:
    text = "A little horse drank some water before breakfast. " * 40  # 2 minutes
    request = PromptRun(QueryType.TEXT_TO_AUDIO, tmp_path).request(Job(0, text))
    assert (request.sampling.max_tokens or 0) > 4000
    assert request.needed_tokens > 3000
    limited = PromptRun(QueryType.TEXT_TO_AUDIO, tmp_path, max_tokens=50).request(Job(0, text))
    assert (limited.sampling.max_tokens, limited.needed_tokens) == (50, 50)


def test_a_transcript_may_be_as_long_as_its_recording_needs(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav_of(120))
    job = Job(0, str(tmp_path / "a.wav"))
    request = PromptRun(QueryType.AUDIO_TO_TEXT, tmp_path).request(job)
    assert (request.sampling.max_tokens or 0) > 1024
    assert request.sampling.temperature == 0.0
    asked = PromptRun(QueryType.AUDIO_TO_TEXT, tmp_path, question="Who speaks?").request(job)
    assert (asked.sampling.max_tokens, asked.sampling.temperature) == (None, None)


async def test_a_full_server_delays_a_prompt_and_loses_none(tmp_path: Path) -> None:
    backend = FakeServeBackend(FakeThinkerEngine(), FakeSynthesizer(SCHEDULE, max_streams=1))
    jobs = [Job(index, f"sentence {index}") for index in range(4)]
    prompts = PromptRun(QueryType.TEXT_TO_AUDIO, tmp_path)
    results = await run_prompts(prompts, jobs, backend, concurrency=4, on_result=lambda r: None)
    assert [result.error for result in results] == [None] * 4


async def test_prompts_run_at_once_but_never_more_than_asked_for(tmp_path: Path) -> None:
    most = 0
    three_at_once = asyncio.Event()

    class Watched(FakeThinkerEngine):
        async def generate(self, request: Any) -> Any:
            nonlocal most
            async for delta in super().generate(request):
                most = max(most, self.active_requests())
                if most == 3:
                    three_at_once.set()
                await asyncio.wait_for(three_at_once.wait(), timeout=10)
                yield delta

    backend = FakeServeBackend(Watched(), None)
    source = tmp_path / "a.wav"
    source.write_bytes(wav_of(0.5))
    jobs = [Job(index, str(source)) for index in range(12)]
    prompts = PromptRun(QueryType.AUDIO_TO_TEXT, tmp_path / "out")
    results = await run_prompts(prompts, jobs, backend, concurrency=3, on_result=lambda r: None)
    assert [result.index for result in results] == list(range(12))
    assert most == 3


def test_statistics_leave_failures_out_of_the_times() -> None:
    good = Result(0, "a", audio_s=2.0, ttfa_s=0.25, total_s=1.0, completion_tokens=50)
    bad = Result(1, "b", error="broken", total_s=99.0)
    table = statistics_table([good, bad], wall_s=2.0)
    values = list(table.columns[1].cells)
    assert values[0] == "1 done, 1 failed"
    assert values[3:5] == ["0.250 s", "0.500"]
    assert values[-1] == "50, 25.0 a second"


def test_num_prompts_repeats_the_whole_list() -> None:
    options = Options(QueryType.TEXT_TO_AUDIO, text=["a", "b"], num_prompts=2)
    assert [job.source for job in make_jobs(options)] == ["a", "b", "a", "b"]


def test_a_folder_and_a_pattern_name_all_their_recordings(tmp_path: Path) -> None:
    for name in ("a.wav", "sub/b.FLAC", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_recordings(str(tmp_path))
    assert found.recordings == [str(tmp_path / "a.wav"), str(tmp_path / "sub/b.FLAC")]
    assert found.left_out == [str(tmp_path / "notes.txt")]
    assert find_recordings(str(tmp_path / "*.wav")).recordings == [str(tmp_path / "a.wav")]


@pytest.mark.parametrize(("path", "said"), [("nope.wav", "no such file"), (".", "a folder")])
def test_a_path_without_recordings_is_refused(tmp_path: Path, path: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        find_recordings(str(tmp_path / path))


def test_transcribing_starts_no_token2wav(tmp_path: Path) -> None:
    for query_type, there in ((QueryType.AUDIO_TO_TEXT, False), (QueryType.TEXT_TO_AUDIO, True)):
        options = Options(query_type, model=str(tmp_path), stage_configs_path=CPU)
        assert (make_config(options, lambda: 0).token2wav is not None) == there


def test_the_voice_variable_reaches_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEP_AUDIO2_DEFAULT_PROMPT_WAV", str(tmp_path / "me.wav"))
    options = Options(QueryType.TEXT_TO_AUDIO, model=str(tmp_path), stage_configs_path=CPU)
    token2wav = make_config(options, lambda: 0).token2wav
    assert token2wav and token2wav.default_voice == str(tmp_path / "me.wav")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{model: M, colour: blue}", "colour"),
        ("applications: []", "no application's args"),
        ("{model: M, token2wav: null}", "no Token2Wav"),
        ("a: [", "not YAML"),
    ],
)
def test_a_wrong_configuration_is_one_clear_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    options = Options(QueryType.TEXT_TO_AUDIO, model=str(tmp_path), stage_configs_path=path)
    with pytest.raises(ConfigError, match=said):
        make_config(options, lambda: 0)
