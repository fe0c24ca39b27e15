"""A batch on a real server: `python -m tests.benchmarks.run_batch OUT.json [--config YAML]`.

1. Throughput: `bench speech` and `step-audio2 batch` say the same texts in turn, at the same
   concurrency. It is sound a second.
2. Live listeners alone, and beside a batch: their gaps and their first sound.
3. Exactly once: a batch of mixed lines, some of them bad, is killed (SIGKILL) at random moments and
   run again. In the end each good line has one answer, and its file; each bad one is listed.

Without `--config` the graph has fake engines. Writes JSON, and fails where lines are missing.
"""

import argparse
import asyncio
import base64
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from serve_app.bench.client import Target
from serve_app.bench.inputs import MEDIUM, SHORT, TextInput
from serve_app.bench.load import ClosedLoop, Extent
from serve_app.bench.measures import BYTES_PER_SECOND, Summary
from serve_app.bench.speech import Workload, bench_speech
from serve_app.commands.batch import command
from serve_app.commands.batch.answers import read_answers
from serve_app.whole_files import write_whole
from tests.benchmarks.soak.server import running
from tests.integration.http.helpers import wav_of
from tests.places import ROOT

MODEL = "step-audio-2-mini"
NANO_TEXTS = (  # of nano's words
    "Please open the window.",
    "A little horse drank some water before breakfast.",
    "The cat sleeps.",
    "We all know a long way home.",
)
FAKE_TEXTS = (*SHORT[:4], *MEDIUM[:4])  # of the others one sounds like text: bench refuses it
FAKE = {
    "proxy_location": "HeadOnly",
    "http_options": {"host": "127.0.0.1", "port": 0},
    "applications": [
        {
            "name": "step-audio2",
            "route_prefix": "/",
            "import_path": "serve_app.app:app",
            "args": {
                "model": "none",
                "thinker": {"engine": "fake"},
                "token2wav": {"engine": "fake"},
            },
        }
    ],
}
PARTS = ("rate", "live", "kills")
NO_GPU = {"ray_actor_options": {"num_cpus": 0, "num_gpus": 0}}
BAD = ("{", "[]", '{"custom_id": "half', '{"custom_id": "bad", "method": "GET"}', "\x00")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run, and how much of it."""

    config: Path | None
    lines: int
    kills: int
    concurrency: int
    live: int
    requests: int  # of one turn of a throughput run, and of the live listeners
    rounds: int
    seed: int
    parts: tuple[str, ...]

    @property
    def texts(self) -> Sequence[str]:
        return NANO_TEXTS if self.config else FAKE_TEXTS


@dataclass(slots=True)
class Figures:
    bench_audio_s_per_s: list[float] = field(default_factory=list)
    batch_audio_s_per_s: list[float] = field(default_factory=list)
    live_alone: dict[str, Any] = field(default_factory=dict)
    live_beside_a_batch: dict[str, Any] = field(default_factory=dict)
    exactly_once: dict[str, Any] = field(default_factory=dict)

    @property
    def share_of_bench(self) -> float | None:
        if not self.bench_audio_s_per_s:
            return None
        return sum(self.batch_audio_s_per_s) / sum(self.bench_audio_s_per_s)


def main() -> None:
    options, out = _options()
    with tempfile.TemporaryDirectory() as folder:
        config = options.config or _fake_config(Path(folder))
        figures = Figures()
        try:
            with running(config, Path(folder)) as server:
                asyncio.run(measure(options, server.url, Path(folder), figures))
        finally:  # also where it was interrupted
            report(options, figures, out)


def report(options: Plan, figures: Figures, out: Path) -> None:
    """Write the figures and print them."""
    about = {"plan": asdict(options) | {"config": str(options.config or "fake engines")}}
    machine = {"cpus": os.cpu_count(), "load": os.getloadavg(), "python": sys.version.split()[0]}
    document = about | {"machine": machine} | asdict(figures)
    document["batch_share_of_bench"] = figures.share_of_bench
    write_whole(out, json.dumps(document, indent=1).encode() + b"\n")
    print(json.dumps(document, indent=1))


async def measure(plan: Plan, url: str, folder: Path, figures: Figures) -> None:
    """The parts of the plan, in turn."""
    for number in range(plan.rounds if "rate" in plan.parts else 0):
        summary = await listen(plan, url, plan.concurrency, plan.requests, seed=number)
        figures.bench_audio_s_per_s.append(summary.audio_s_per_s)
        figures.batch_audio_s_per_s.append(
            await batch_rate(plan, url, folder / f"rate{number}", number)
        )
    if "live" in plan.parts:
        figures.live_alone = told(await listen(plan, url, plan.live, plan.requests, seed=99))
        figures.live_beside_a_batch = await live_beside(plan, url, folder / "beside")
    if "kills" in plan.parts:
        figures.exactly_once = await killed_and_resumed(plan, url, folder / "killed")


async def listen(plan: Plan, url: str, clients: int, requests: int, seed: int) -> Summary:
    """Live listeners, each of whom asks again when its answer has ended."""
    texts = [TextInput(f"t{i}", text) for i, text in enumerate(plan.texts)]
    workload = Workload(texts, (), 0.0, Extent(requests=requests), seed=seed)
    target = Target(f"{url}/v1", MODEL, "default")
    result = await bench_speech(target, workload, [ClosedLoop(clients)], own_overhead=False)
    return result.levels[0].summary


async def batch_rate(plan: Plan, url: str, folder: Path, seed: int) -> float:
    """Seconds of sound in a second of a batch that says the texts of `listen`, start included.

    By seconds, since the texts are of different lengths and each side draws its own.
    """
    draw = random.Random(seed)
    lines = [speech(f"line {i}", draw.choice(plan.texts)) for i in range(plan.requests)]
    options = _written(folder, [json.dumps(line) for line in lines], plan, url)
    began_s = time.perf_counter()
    await asyncio.to_thread(command.run, options, Console(stderr=True))
    took_s = time.perf_counter() - began_s
    assert all(answer.complaint is None for answer in read_answers(options.answers))
    sounds = (folder / "out.audio").iterdir()
    return sum(sound.stat().st_size for sound in sounds) / BYTES_PER_SECOND / took_s


async def live_beside(plan: Plan, url: str, folder: Path) -> dict[str, Any]:
    """The live listeners while a batch runs, and how many of its lines were answered meanwhile."""
    draw = random.Random(plan.seed)
    lines = [speech(f"line {i}", draw.choice(plan.texts)) for i in range(100 * plan.requests)]
    options = _written(folder, [json.dumps(line) for line in lines], plan, url)
    process = await _started(options)
    await _answered(options.answers, 1, process)
    before = _count(options.answers)
    summary = await listen(plan, url, plan.live, plan.requests, seed=99)
    lines_meanwhile = _count(options.answers) - before
    assert process.returncode is None, "the batch ended before the listeners"
    process.kill()
    await process.wait()
    return told(summary) | {"batch_lines_per_s": lines_meanwhile / summary.window_s}


async def killed_and_resumed(plan: Plan, url: str, folder: Path) -> dict[str, Any]:
    """A batch with bad lines that is killed again and again, and what is there in the end."""
    draw = random.Random(plan.seed)
    bad = set(draw.sample(range(1, plan.lines), max(1, plan.lines // 100)))
    lines, good, texts = [], [], {}
    for i in range(plan.lines):
        if i in bad:  # the last kind repeats an id
            lines.append(draw.choice((*BAD, lines[0])))
            continue
        text = draw.choice(plan.texts)
        good.append(f"line {i}")
        texts[good[-1]] = text
        lines.append(json.dumps(_mixed(good[-1], text, i)))
    options = _written(folder, lines, plan, url)
    kills = sorted(draw.sample(range(1, len(good) - plan.concurrency), plan.kills))
    killed_at = []
    for count in kills:
        process = await _started(options)
        await _answered(options.answers, count, process)
        process.kill()
        await process.wait()
        killed_at.append(_count(options.answers))
    code = await asyncio.to_thread(command.run, options, Console(stderr=True))
    answers = [json.loads(line) for line in options.answers.read_text().splitlines()]
    times = Counter(answer["custom_id"] for answer in answers)
    listed = options.answers.with_suffix(".errors.jsonl").read_text().splitlines()
    statuses = Counter(answer["response"]["status_code"] for answer in answers)
    result = {
        "lines": plan.lines,
        "bad": len(bad),
        "killed_at": killed_at,
        "exit_code": code,
        "answers": len(answers),
        "answered_once": sum(times[one] == 1 for one in good),
        "statuses": dict(statuses),
        "bad_listed": len(listed),
        "sounds": len(list((folder / "out.audio").iterdir())),
    }
    assert all(times[one] == 1 for one in good) and len(answers) == len(good), result
    assert {json.loads(line)["line"] - 1 for line in listed} == bad and code == 1, result
    for answer in answers:
        _check_sound(answer, folder)
    return result


def speech(custom_id: str, text: str) -> dict[str, Any]:
    body = {"model": MODEL, "input": text, "voice": "default", "response_format": "pcm"}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/audio/speech", "body": body}


def told(summary: Summary) -> dict[str, Any]:
    """What is said of live listeners."""
    return {
        "requests": summary.requests,
        "failed": summary.failed,
        "outcomes": summary.outcomes,
        "underruns": summary.underruns,
        "stalled_s": summary.stalled_s,
        "without_underrun": summary.requests_without_underrun,
        "ttfa_s": asdict(summary.ttfa_s) if summary.ttfa_s else None,
        "requests_per_s": summary.requests_per_s,
    }


def _mixed(custom_id: str, text: str, number: int) -> dict[str, Any]:
    """Half of the lines speak; the others chat, or write a recording down."""
    line = speech(custom_id, text)
    if number % 4 == 1:
        body: dict[str, Any] = {
            "model": MODEL,
            "messages": [{"role": "user", "content": text}],
            "max_completion_tokens": 40,
        }
        return line | {"url": "/v1/chat/completions", "body": body}
    if number % 4 == 3:
        file = "tone.wav"
        if number % 8 == 3:
            file = f"data:audio/wav;base64,{base64.b64encode(wav_of(0.5)).decode()}"
        return line | {
            "url": "/v1/audio/transcriptions",
            "body": {"model": MODEL, "file": file, "chunking_strategy": "auto"},
        }
    return line


def _check_sound(answer: dict[str, Any], folder: Path) -> None:
    body = answer["response"]["body"]
    if answer["response"]["status_code"] == 200 and body.get("object") == "audio.file":
        assert (folder / body["file"]).stat().st_size == body["bytes"], answer


def _written(folder: Path, lines: list[str], plan: Plan, url: str) -> command.Options:
    folder.mkdir()
    (folder / "tone.wav").write_bytes(wav_of(0.5))
    (folder / "in.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return command.Options(
        folder / "in.jsonl", folder / "out.jsonl", url, concurrency=plan.concurrency
    )


async def _started(options: command.Options) -> asyncio.subprocess.Process:
    arguments = [str(options.lines), str(options.answers), "--base-url", options.base_url]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "serve_app", "batch", *arguments),
        *("--concurrency", str(options.concurrency)),
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
    )


async def _answered(answers: Path, count: int, process: asyncio.subprocess.Process) -> None:
    while _count(answers) < count:
        assert process.returncode is None, "the batch ended too early"
        await asyncio.sleep(0.01)


def _count(answers: Path) -> int:
    return answers.read_bytes().count(b"\n") if answers.exists() else 0


def _fake_config(folder: Path) -> Path:
    document = json.loads(json.dumps(FAKE))
    arguments = document["applications"][0]["args"]
    for stage in ("thinker", "token2wav"):
        arguments[stage]["deployment_config"] = NO_GPU
    path = folder / "fake.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def _options() -> tuple[Plan, Path]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--config", type=Path, help="a configuration of nano; else fake engines")
    parser.add_argument("--lines", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--live", type=int, default=4)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    given = vars(parser.parse_args())
    out = given.pop("out")
    return Plan(**given), out


if __name__ == "__main__":
    main()
