"""How nano's flow is taught: its losses, and the files that it leaves."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deployments.token2wav.functional import Flow, load_flow
from deployments.token2wav.functional.published_weights import read_weights
from tests.nano import flow as nano
from tests.nano import flow_examples
from tests.nano.corpus.store import Corpus
from tests.nano.sizes import FLOW


def test_what_is_padded_counts_for_nothing(
    flow: Flow, recordings: flow_examples.Recordings, partners: flow_examples.Partners
) -> None:
    examples = flow_examples.Examples(recordings, partners, seed=1)
    batch = examples.gather(examples.plan(np.arange(6)))
    frames = torch.arange(batch.mel.shape[1])
    padding = frames >= 2 * batch.layout.lengths[:, None]
    assert padding.any()
    other = flow_examples.Batch(
        codes=batch.codes.masked_fill(padding[:, ::2], 3),
        mel=batch.mel.masked_fill(padding[:, :, None], 7.0),
        embeddings=batch.embeddings,
        known=batch.known,
        layout=batch.layout,
    )
    losses = []
    for given in (batch, other):
        torch.manual_seed(0)
        losses.append(nano.losses_of(flow, given)["loss"])
    torch.testing.assert_close(*losses)


@pytest.fixture
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flow that learns on one core within seconds."""
    encoder = replace(FLOW.encoder, input_size=96, output_size=96, attention_heads=2)
    encoder = replace(encoder, linear_units=192, num_blocks=1, num_up_blocks=1)
    dit = replace(FLOW.dit, depth=2, num_heads=2, hidden_size=96, head_dim=48)
    monkeypatch.setattr(nano, "FLOW", replace(FLOW, input_size=96, encoder=encoder, dit=dit))


@pytest.mark.usefixtures("smaller")
def test_what_was_learned_is_what_is_served(
    recordings: flow_examples.Recordings, partners: flow_examples.Partners, tmp_path: Path
) -> None:
    """On melodies that were trained on: a mel that is only constant is left far behind."""
    torch.manual_seed(0)
    flow = nano.new_flow(nano.mean_mel(recordings))
    batches = flow_examples.Examples(recordings, partners, seed=0).batches(np.arange(8), size=4)
    losses = nano.FlowLosses(flow, batches)
    optimizer = torch.optim.AdamW(flow.parameters(), lr=4e-3)
    matching = []
    for step in range(80):
        values = losses(step, 0.0)
        optimizer.zero_grad()
        values["loss"].backward()
        optimizer.step()
        matching.append(float(values["matching"]))
    nano.save_flow(flow.state_dict(), tmp_path)
    report = nano.check(recordings, partners, [0, 1, 2, 3], tmp_path)
    assert np.mean(matching[-10:]) < 0.5 * matching[0]
    assert report["whole_l1"] < 0.8 * report["mean_mel_l1"]
    assert report["streamed_l1"] < 0.8 * report["mean_mel_l1"]


@pytest.mark.usefixtures("smaller")
def test_two_slices_leave_a_checkpoint_and_a_report(
    melodies: Corpus, prepared: Path, tmp_path: Path
) -> None:
    for name in ("codes.npy", "codes_starts.npy", "embeddings.npy"):
        shutil.copy(prepared / name, tmp_path)
    melodies.save(tmp_path / "corpus")
    nano.main(tmp_path / "corpus", tmp_path, minutes=0.02, batch=4, span=(0.0, 0.5))
    begun = json.loads((tmp_path / "flow.json").read_text())["steps"]
    nano.main(tmp_path / "corpus", tmp_path, minutes=0.01, batch=4, span=(0.5, 1.0))
    assert json.loads((tmp_path / "flow.json").read_text())["steps"] > begun
    assert load_flow(tmp_path).config == nano.FLOW
    assert {v.dtype for v in read_weights(tmp_path / "flow.pt").values()} == {torch.float16}
    report = json.loads((tmp_path / "flow_check.json").read_text())
    assert report["utterances"] == 2  # of the one sentence that is held out
    assert all(np.isfinite(value) for value in report.values())
