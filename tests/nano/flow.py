"""Training the flow: codes, speaker embedding and prompt in, mel spectrogram out.

What is trained is the served module itself, over whole rows (`flow_rows`) of prompt and target
(`flow_examples`). The objective is conditional flow matching on straight paths
(https://arxiv.org/abs/2210.02747, section 4.1).
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from deployments.chunker import Chunk, Chunker, ChunkSchedule
from deployments.token2wav.functional import Flow, FlowInput, FlowSynthesizer, load_flow
from tests.nano.corpus.store import Corpus
from tests.nano.flow_examples import Batch, Examples, Partners, Recordings
from tests.nano.flow_rows import FRAMES, context_of, encode, project_speakers, velocity
from tests.nano.sizes import FLOW
from tests.nano.training import Recipe, device, seed_everything, train

LEARNING_RATE = 1e-3
SIGMA_MIN = 1e-6  # what is left of the noise at the end of a path
FREE_SHARE = 0.2  # of the rows are trained without any condition, for the guidance
KNOWN_FRAME_WEIGHT = 0.1  # of frames whose mel the condition tells
HELD_OUT_OF = 100  # one sentence in so many
CHECKED = 8


class FlowLosses:
    """The losses of one batch after the other, for `training.train`."""

    def __init__(self, flow: Flow, batches: Iterator[Batch]) -> None:
        self._flow = flow
        self._batches = batches

    def __call__(self, step: int, done: float) -> dict[str, Tensor]:
        return losses_of(self._flow, next(self._batches))


def losses_of(flow: Flow, batch: Batch) -> dict[str, Tensor]:
    """Flow matching, and how far the encoder's output alone is from the mel.

    The second, which the published objective lacks, teaches the encoder within seconds what a code
    sounds like; the flow then has the voice and the detail left to learn.
    """
    mel, lengths = batch.mel, FRAMES * batch.layout.lengths
    where, size = mel.device, len(mel)
    frame = torch.arange(mel.shape[1], device=where)
    inside = (frame < lengths[:, None]).float()  # [B, t]
    known = (frame < FRAMES * batch.known[:, None]).float()
    times = 1 - torch.cos(torch.rand(size, device=where) * (math.pi / 2))
    noise = torch.randn_like(mel)
    along = times[:, None, None]
    x = (1 - (1 - SIGMA_MIN) * along) * noise + along * mel
    conditioned = (torch.rand(size, device=where) >= FREE_SHARE).float()[:, None, None]

    with torch.autocast(where.type, torch.bfloat16, enabled=where.type == "cuda"):
        mu = encode(flow, batch.codes, batch.layout).float()
        speaker = project_speakers(flow, batch.embeddings)
        context = conditioned * context_of(mu, speaker, mel * known[:, :, None])
        estimate = velocity(flow, x, context, times, lengths, batch.layout.visible()).float()

    error = (estimate - (mel - (1 - SIGMA_MIN) * noise)).pow(2).mean(-1)  # [B, t]
    # What is told need not be found out; without a condition nothing is told.
    weight = inside * (1 - (1 - KNOWN_FRAME_WEIGHT) * known * conditioned[:, :, 0])
    matching = (error * weight).sum() / weight.sum()
    encoded = ((mu - mel).abs().mean(-1) * inside).sum() / inside.sum()
    return {"loss": matching + encoded, "matching": matching.detach(), "mu_l1": encoded.detach()}


def new_flow(mean: Tensor) -> Flow:
    """An untrained flow whose output is the mean mel [80], and whose parts start at their scale."""
    flow = Flow(FLOW)
    encoder, dit = flow.encoder, flow.decoder.estimator
    for embedding in (encoder.embed, encoder.up_embed):
        # Unit size instead of the square root of the width, beside which no layer would count.
        nn.init.constant_(embedding.out[1].weight, 1 / embedding.scale)
    nn.init.normal_(flow.spk_embed_affine_layer.weight)  # of a unit vector: unit size
    with torch.no_grad():
        flow.encoder_proj.bias.copy_(mean)
        for block in dit.blocks:
            nn.init.zeros_(block.adaLN_modulation[1].weight)
            nn.init.zeros_(block.adaLN_modulation[1].bias)
        nn.init.zeros_(dit.final_layer.adaLN_modulation[1].weight)
        nn.init.zeros_(dit.final_layer.adaLN_modulation[1].bias)
        nn.init.normal_(dit.final_layer.linear.weight, std=0.02)
        dit.final_layer.linear.bias.copy_(mean)  # the mean of mel - noise
        noisy, mu = dit.in_proj.weight[:, : 2 * len(mean)].chunk(2, dim=1)
        dit.in_proj.bias.copy_(-(noisy @ mean / 2 + mu @ mean))  # mels are around -6: centre them
    return flow


def main(
    corpus: Path, out: Path, minutes: float, batch: int, *, span: tuple[float, float] = (0.0, 1.0)
) -> None:
    """Train on `corpus` and the codes and embeddings in `out`.

    Writes `flow.pt`, `flow.yaml` and `flow_check.json` to `out`; a slice that is not the last one
    also `flow_state.pt`, where the next one goes on.

    Args:
        corpus: folder of a `Corpus`.
        out: folder, which holds `codes.npy`, `codes_starts.npy` and `embeddings.npy`.
        minutes: of training; loading and the check take some seconds more.
        batch: utterances a step.
        span: the part of the whole training that these minutes are, 0 … 1.
    """
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    where = device()
    recipe = Recipe(minutes=minutes, learning_rate=LEARNING_RATE, span=span)
    seed_everything(recipe.seed)
    data = Corpus.open(corpus)
    recordings = Recordings.load(data, out, where)
    held_out = held_out_utterances(data)
    trained_on = np.setdiff1d(np.arange(len(data.utterances)), held_out)
    partners = Partners(data, recordings.counts, prompts=trained_on)
    examples = Examples(recordings, partners, recipe.seed + round(1000 * span[0]))
    flow = new_flow(mean_mel(recordings).cpu()).to(where)
    losses = FlowLosses(flow, examples.batches(trained_on, min(batch, len(trained_on))))
    save_flow(train("flow", flow, losses, recipe, out), out)
    standard = [index for index in held_out if data.utterances[index].kind == "standard"]
    check(recordings, partners, standard[:CHECKED], out)


def held_out_utterances(corpus: Corpus) -> np.ndarray:
    """Utterances of the last hundredth of the sentences; they are not trained on."""
    first = len(corpus.sentences) - max(1, len(corpus.sentences) // HELD_OUT_OF)
    return np.flatnonzero([u.sentence >= first for u in corpus.utterances])


def mean_mel(recordings: Recordings) -> Tensor:
    """[80] float32, of up to 100 000 tokens all over the corpus."""
    step = max(1, len(recordings.mel) // 100_000)
    return recordings.mel[::step].float().mean((0, 1))


def save_flow(weights: Mapping[str, Tensor], out: Path) -> None:
    """`flow.pt` in half precision and `flow.yaml`, as `load_flow` reads them."""
    out.mkdir(parents=True, exist_ok=True)
    torch.save({key: value.half() for key, value in weights.items()}, out / "flow.pt")
    (out / "flow.yaml").write_text(FLOW.to_yaml())


def check(
    recordings: Recordings, partners: Partners, utterances: Sequence[int], out: Path
) -> dict[str, float]:
    """Synthesise utterances by `out/flow.pt` as the server does; write and return how it fares.

    Each is prompted by another recording of its voice. Distances are means of absolute
    differences of log-mels; `mean_mel_l1` is that of a mel that never changes.
    """
    flow = load_flow(out).to(recordings.mel.device)
    synthesizer = FlowSynthesizer(flow, seed=0)
    rng = np.random.default_rng(0)
    mean = mean_mel(recordings)
    rows = []
    for index in utterances:
        codes, _, mel = recordings.utterance(index)
        prompt = int(partners.prompts(np.array([index]), rng)[0])
        told, embedding, shown = recordings.utterance(prompt if prompt >= 0 else index)
        whole = synthesizer.whole(codes, told, embedding, shown)
        streamed = stream(synthesizer, codes, told, embedding, shown)
        row = {
            "whole_l1": whole - mel,
            "streamed_l1": streamed - mel,
            "whole_streamed_l1": whole - streamed,
            "whole_bias": (whole - mel).mean(0),
            "mean_mel_l1": mean - mel,
        }
        donor = int(partners.donor[index])
        if donor >= 0:  # the same words in another's codes must not bring the other's voice
            lent, _, others = recordings.utterance(donor)
            converted = synthesizer.whole(lent, told, embedding, shown)
            frames = min(len(converted), len(mel))
            row["converted_to_own_l1"] = converted[:frames] - mel[:frames]
            row["converted_to_donor_l1"] = converted[:frames] - others[:frames]
        rows.append({key: float(value.abs().mean()) for key, value in row.items()})
    keys = dict.fromkeys(key for row in rows for key in row)
    means = {key: float(np.mean([row[key] for row in rows if key in row])) for key in keys}
    report = {"utterances": len(rows)} | {key: round(value, 4) for key, value in means.items()}
    (out / "flow_check.json").write_text(json.dumps(report, indent=2) + "\n")
    print("flow", *(f"{key} {value:g}" for key, value in report.items()), flush=True)
    return means


def stream(
    synthesizer: FlowSynthesizer, tokens: Tensor, codes: Tensor, embedding: Tensor, mel: Tensor
) -> Tensor:
    """Synthesise in the server's chunks; the arguments are those of `FlowSynthesizer.whole`."""
    state = synthesizer.prepare(codes, embedding, mel)
    chunker = Chunker(ChunkSchedule())
    chunks: list[Chunk | None] = [*chunker.push(tokens.tolist()), chunker.finish()]
    made = []
    for chunk in chunks:
        if chunk is not None:
            row = FlowInput(torch.tensor(chunk.tokens), last=chunk.last, state=state)
            (frames,), (state,) = synthesizer.step([row])
            made.append(frames)
    return torch.cat(made)
