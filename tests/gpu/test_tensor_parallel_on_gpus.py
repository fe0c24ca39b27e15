"""The Thinker on two GPUs says what it says on one."""

import json
import subprocess
import sys

import pytest
import torch

from tests.benchmarks.run_tensor_parallel import SPOKEN_ALIKE, alike
from tests.places import ROOT

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA GPUs here"),
]


def test_two_ranks_answer_as_one_does_in_both_ways(tmp_path):
    out = tmp_path / "answers.json"
    subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.run_tensor_parallel", "--out", str(out)],
        cwd=ROOT,
        check=False,  # the results say what failed
    )
    found = json.loads(out.read_text())
    assert [way.get("failure") for way in found.values()] == [None] * 3
    one, mp, ray = (way["answers"] for way in found.values())
    for other in (mp, ray):
        *spoken, _, _ = alike(one, other)
        assert min(spoken) >= SPOKEN_ALIKE
        assert other[-2:] == one[-2:]  # what two recordings say
