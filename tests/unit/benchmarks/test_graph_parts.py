"""The parts of `run_graph` that need no GPU."""

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from serve_app.bench.inputs import SpeechInput
from serve_app.bench.measures import Arrival, RequestTrace
from serve_app.config import AppConfig
from tests.benchmarks.graph_config import (
    GB,
    GIB,
    TOKEN2WAV_STREAM_BYTES,
    Plan,
    app_config,
    share_memory,
)
from tests.benchmarks.graph_load import Load, expected_audio_s, right_length
from tests.benchmarks.loop_watch import LoopWatch
from tests.benchmarks.plugin_entry import GROUP, make_plugins_known
from tests.benchmarks.speaking_weights import AUDIO, LOAD_FORMAT, TEXT, kinds_of, make_speak
from tests.places import ROOT

H200 = Plan("model", "cuda", full_size=True, gpu_bytes=143771 << 20)
IN_24_GB = Plan("model", "cuda", full_size=True, gpu_bytes=143771 << 20, limit_bytes=24 * GB)


@pytest.mark.parametrize(
    ("tokens", "seconds"), [(85, 2.72), (160, 5.12), (315, 10.08), (1024, 32.76)]
)
def test_an_answer_of_forced_tokens_plays_four_fifths_of_them(tokens, seconds):
    assert expected_audio_s(tokens) == pytest.approx(seconds)


def test_an_answer_that_lacks_one_sample_is_of_wrong_length():
    whole, short = (
        RequestTrace("text → 85", 0.0, arrivals=[Arrival(0.1, seconds)])
        for seconds in (2.72, 2.72 - 1 / 24_000)
    )
    assert right_length(whole)
    assert not right_length(short)


def test_both_stages_together_stay_within_the_limit():
    memory = share_memory(IN_24_GB)
    assert memory.thinker_bytes + memory.token2wav_bytes < 24 * GB
    arguments = app_config(IN_24_GB).thinker.engine_kwargs
    taken = arguments["gpu_memory_utilization"] * IN_24_GB.gpu_bytes
    assert taken == pytest.approx(memory.thinker_bytes, rel=1e-3)


def test_an_h200_holds_128_streams_beside_the_thinker():
    token2wav = app_config(H200).token2wav
    assert token2wav is not None
    assert token2wav.gpu.memory_gb * GIB >= 128 * TOKEN2WAV_STREAM_BYTES


def test_with_an_fp8_thinker_16_gb_hold_both_stages():
    plan = Plan("model", "cuda", full_size=True, gpu_bytes=143771 << 20, limit_bytes=16 * GB)
    with pytest.raises(ValueError, match="too few"):
        app_config(plan)
    config = app_config(replace(plan, fp8=True))
    assert config.thinker.engine_kwargs["quantization"] == "fp8"
    assert config.token2wav.gpu.memory_gb * GIB >= 2 * TOKEN2WAV_STREAM_BYTES


def test_a_limit_without_room_for_token2wav_is_refused():
    small = Plan("model", "cuda", full_size=True, gpu_bytes=80 * GIB, limit_bytes=19 * GB)
    with pytest.raises(ValueError, match="too few"):
        share_memory(small)


def test_a_process_started_later_finds_the_plugin_that_was_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.benchmarks.plugin_entry.entry_points", lambda group: ())
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    make_plugins_known(tmp_path)
    code = f"""
import importlib.metadata as m
print(*sorted(e.value for d in m.distributions(path=[{str(tmp_path)!r}])
              for e in d.entry_points if e.group == {GROUP!r}))
import sys; assert {str(tmp_path)!r} in sys.path
"""
    found = subprocess.run(
        [sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == [
        "deployments.thinker.vllm_plugin:register",
        "tests.benchmarks.speaking_weights:register",
    ]


@pytest.mark.parametrize("shards", [1, 2])
def test_weights_that_speak_follow_the_order_of_a_spoken_answer(shards):
    kinds = kinds_of(64, text_ids=range(10, 20), audio_ids=range(32, 60))
    hidden, rows = 48, 64 // shards
    torch.manual_seed(0)

    def shard(number: int) -> SimpleNamespace:
        held = SimpleNamespace(
            org_vocab_start_index=number * rows, org_vocab_end_index=(number + 1) * rows
        )
        matrices = [
            SimpleNamespace(
                weight=torch.empty(rows, hidden).uniform_(-1e-3, 1e-3), shard_indices=held
            )
            for _ in range(2)
        ]
        norm = SimpleNamespace(weight=torch.zeros(hidden))
        decoder = SimpleNamespace(
            model=SimpleNamespace(embed_tokens=matrices[0], norm=norm), lm_head=matrices[1]
        )
        make_speak(decoder, kinds)
        return decoder

    parts = [shard(number) for number in range(shards)]
    embedding = torch.cat([part.model.embed_tokens.weight for part in parts])
    head = torch.cat([part.lm_head.weight for part in parts])
    token, seen = 3, []  # of no kind that is spoken
    for _ in range(500):
        state = torch.nn.functional.rms_norm(embedding[token], (hidden,))
        likely = (head @ state).softmax(0)
        token = int(torch.multinomial(likely, 1))
        seen.append(int(kinds[token]))
    assert seen == [TEXT, *range(AUDIO, AUDIO + 4)] * 100


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*gpu*.yaml")), ids=lambda p: p.stem)
def test_a_configuration_is_measured_as_it_stands_but_for_its_weights(path, monkeypatch):
    monkeypatch.setenv("STEP_AUDIO2_SPOKEN_TURN_KEYS", "a-key-of-16-or-more")
    served = yaml.safe_load(path.read_text())["applications"][0]["args"]
    measured = app_config(replace(H200, config=str(path)))
    arguments = dict(measured.thinker.engine_kwargs)
    assert arguments.pop("load_format") == LOAD_FORMAT
    if "tensor_parallel_size" in arguments:
        assert not any(arguments.pop("compilation_config")["pass_config"].values())
    assert arguments == served["thinker"]["engine_kwargs"]
    assert measured.token2wav == AppConfig.model_validate(served).token2wav


def test_recordings_are_asked_with_one_after_another_and_fields_are_added():
    two = [SpeechInput(name, "wav", name) for name in ("first", "second")]
    load = Load("http://nowhere", recordings=two, body={"top_p": 1.0})
    bodies = [json.loads(r.body) for r in itertools.islice(load._requests([85], 0), 3)]
    heard = [b["messages"][0]["content"][0]["input_audio"]["data"] for b in bodies]
    assert heard == ["first", "second", "first"]
    assert all(b["top_p"] == 1.0 and b["max_completion_tokens"] == 85 for b in bodies)


async def test_what_holds_a_loop_up_is_named():
    def compute_for(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    done = asyncio.Event()
    watching = asyncio.create_task(LoopWatch().watch_while(lambda: not done.is_set()))
    await asyncio.sleep(0.05)
    compute_for(0.05)
    await asyncio.sleep(0.05)
    time.sleep(0.03)  # waits, and computes nothing
    await asyncio.sleep(0.01)  # a beat comes
    done.set()
    report = await watching
    computed, *_ = sorted(report.longest, key=lambda hold: -hold.computed_s)
    assert computed.computed_s > 0.04
    assert "compute_for" in computed.doing
    assert any(hold.late_s > 0.025 and hold.computed_s < 0.005 for hold in report.longest)
    assert report.computed_over_limit >= 1
