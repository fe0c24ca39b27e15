"""Nano's flow is trained as it is served: the same frames see the same past."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from deployments.mel import voice_mel_spectrogram
from deployments.token2wav.model import Flow, FlowSynthesizer, load_flow
from deployments.token2wav.model.cfm import HISTORY_TAIL_FRAMES, Schedule
from deployments.token2wav.model.dit import CONV_PAST
from deployments.token2wav.model.load import read_weights
from deployments.token2wav.voice import fit_frames
from tests.nano import flow as nano
from tests.nano import flow_examples, flow_rows
from tests.nano.corpus.store import Corpus, Utterance
from tests.nano.sizes import ACTIVE_DIGITS, FLOW, SOUND_RATE_HZ, SPEECH_RATE_HZ, USED_CODES

MELS = FLOW.output_size


@pytest.fixture(scope="module")
def flow() -> Flow:
    """A flow of which every part matters: no gate is shut, as it is before training."""
    torch.manual_seed(0)
    model = nano.new_flow(torch.linspace(-8, -4, MELS))
    for block in model.decoder.estimator.blocks:
        torch.nn.init.normal_(block.adaLN_modulation[1].weight, std=0.05)
        torch.nn.init.normal_(block.adaLN_modulation[1].bias, std=0.3)
    return model.eval().requires_grad_(False)


class Voice:
    """Codes [P], embedding [192] and mel [2P, 80] of a prompt, and codes to say."""

    def __init__(self, prompt: int, tokens: int) -> None:
        generator = torch.Generator().manual_seed(prompt)
        self.codes = torch.randint(USED_CODES, (prompt,), generator=generator)
        self.tokens = torch.randint(USED_CODES, (tokens,), generator=generator)
        self.embedding = torch.randn(FLOW.spk_embed_dim, generator=generator)
        self.mel = torch.randn(2 * prompt, MELS, generator=generator) * 2 - 6

    @property
    def row(self) -> Tensor:
        return torch.cat((self.codes, self.tokens))

    def condition(self) -> Tensor:
        return torch.cat((self.mel, torch.zeros(2 * len(self.tokens), MELS)))


def layout(chunks: list[list[int]], width: int) -> flow_rows.Layout:
    sizes = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in chunks], batch_first=True)
    return flow_rows.Layout.of(sizes, sizes.sum(1), width)


def solved(flow: Flow, voice: Voice, chunks: list[int], noise: Tensor, width: int) -> Tensor:
    """What the training forward makes of `noise` [t, 80] in ten guided steps. [t, 80]"""
    cut = layout([chunks], width)
    codes = torch.nn.functional.pad(voice.row, (0, width - len(voice.row)))[None]
    padding = (0, 0, 0, 2 * width - len(noise))
    mu = flow_rows.encode(flow, codes, cut)
    speaker = flow_rows.project_speakers(flow, voice.embedding[None])
    condition = torch.nn.functional.pad(voice.condition(), padding)[None]
    context = flow_rows.context_of(mu, speaker, condition)
    x = torch.nn.functional.pad(noise, padding)[None]
    schedule = Schedule.cosine(10)
    for time, delta in zip(schedule.times, schedule.deltas, strict=True):
        told, free = (
            flow_rows.velocity(flow, x, c, time[None], 2 * cut.lengths, cut.visible())
            for c in (context, torch.zeros_like(context))
        )
        x = x + delta * (1.7 * told - 0.7 * free)
    return x[0, : len(noise)]


@torch.inference_mode()
@pytest.mark.parametrize("padding", [0, 7])
def test_training_forward_of_a_whole_row_is_the_synthesis_at_once(flow: Flow, padding: int) -> None:
    voice = Voice(prompt=20, tokens=30)
    synthesizer = FlowSynthesizer(flow, seed=0)
    expected = synthesizer.whole(voice.tokens, voice.codes, voice.embedding, voice.mel)
    made = solved(flow, voice, [50], synthesizer.noise[:100], 50 + padding)
    torch.testing.assert_close(made[40:], expected, atol=2e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize(("prompt", "tokens"), [(20, 40), (70, 140), (30, 150)])
def test_training_forward_in_chunks_is_the_streamed_synthesis(
    flow: Flow, prompt: int, tokens: int
) -> None:
    """The longer ones outgrow their history: the DiT forgets what `trim` drops."""
    voice = Voice(prompt, tokens)
    synthesizer = FlowSynthesizer(flow, seed=0)
    expected = nano.stream(synthesizer, voice.tokens, voice.codes, voice.embedding, voice.mel)
    sizes = [prompt, 9, 8, 12, 16, 20, *[25] * 8]
    begins = np.cumsum([0, *sizes])
    sizes = [min(size, prompt + tokens - b) for size, b in zip(sizes, begins, strict=False)]
    sizes = [size for size in sizes if size > 0]
    if sizes[-1] <= 3:  # what would only be lookahead is said with the chunk before
        sizes[-2:] = [sum(sizes[-2:])]
    noise, done = [], 0
    for size in sizes:  # as served: noise begins at the length of the trimmed history
        offset = min(done, 2 * prompt + HISTORY_TAIL_FRAMES)
        noise.append(synthesizer.noise[offset : offset + 2 * size])
        done += 2 * size
    made = solved(flow, voice, sizes, torch.cat(noise), prompt + tokens + 5)
    torch.testing.assert_close(made[2 * prompt :], expected, atol=5e-4, rtol=1e-4)


@torch.inference_mode()
def test_encoder_in_chunks_is_the_served_encoder(flow: Flow) -> None:
    first, second = Voice(prompt=20, tokens=32), Voice(prompt=12, tokens=25)
    chunks = [[20, 9, 8, 15], [12, 17, 8]]
    width = 60
    codes = torch.stack(
        [torch.nn.functional.pad(v.row, (0, width - len(v.row)), value=5) for v in (first, second)]
    )
    made = flow_rows.encode(flow, codes, layout(chunks, width))
    for row, voice, sizes in zip(made, (first, second), chunks, strict=True):
        state, at, parts = flow.encoder.empty_state(), 0, []
        for index, size in enumerate(sizes):
            last = index == len(sizes) - 1
            ahead = voice.codes[:3] if index == 0 else voice.row[at + size : at + size + 3]
            tokens = torch.cat((voice.row[at : at + size], ahead[: 0 if last else 3]))
            (mu,), (state,) = flow.encode([tokens], [last], [state])
            parts.append(mu)
            at += size
        torch.testing.assert_close(row[: 2 * at], torch.cat(parts), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_each_row_has_its_own_time(flow: Flow) -> None:
    dit, config = flow.decoder.estimator, FLOW.dit
    times, t = torch.tensor([0.1, 0.7]), 14
    x, context = torch.randn(2, t, MELS), torch.randn(2, t, 3 * MELS)
    lengths = torch.tensor([t, t])
    visible = torch.ones(2, 1, t, t, dtype=torch.bool)
    made = flow_rows.velocity(flow, x, context, times, lengths, visible)
    modulation = dit.modulation(times)
    for row in range(2):
        expected, _, _ = dit(
            torch.cat((x, context), dim=-1)[row : row + 1],
            modulation.blocks[row],
            modulation.final[row],
            torch.zeros(1, config.depth, 2 * config.hidden_size, CONV_PAST),
            torch.zeros(1, config.depth, config.num_heads, 0, 2 * config.head_dim),
            lengths[:1],
            None,
        )
        torch.testing.assert_close(made[row], expected[0], atol=1e-5, rtol=1e-5)


# --- A corpus of sweeps ---------------------------------------------------------------------------


def sweeps(sentences: int = 12, speakers: int = 2) -> Corpus:
    """Gliding harmonic tones: each sentence a melody, each speaker a colour."""
    rng = np.random.default_rng(0)
    utterances: list[Utterance] = []
    speech: list[np.ndarray] = []
    sound: list[np.ndarray] = []
    for sentence in range(sentences):
        seconds = rng.uniform(1.5, 2.5)
        melody = rng.uniform(120, 1200, 8)
        for speaker in range(speakers):
            # An odd number of samples, so that frames and codes end somewhere.
            exact = seconds + 0.013 * speaker
            for rate, into in ((SPEECH_RATE_HZ, speech), (SOUND_RATE_HZ, sound)):
                at = np.arange(int(exact * rate)) / rate
                hz = np.interp(at / exact, np.linspace(0, 1, 8), melody)
                phase = 2 * np.pi * np.cumsum(hz) / rate
                overtones = np.sin(phase) + (0.2 + 0.6 * speaker) * np.sin(3 * phase)
                into.append((8000 * overtones).astype(np.int16))
            utterances.append(Utterance(sentence, speaker, "standard", 165, 50))
    return Corpus(
        sentences=[f"melody {index}" for index in range(sentences)],
        speakers=[f"colour {index}" for index in range(speakers)],
        utterances=utterances,
        speech=np.concatenate(speech),
        speech_starts=np.cumsum([0, *map(len, speech)]),
        sound=np.concatenate(sound),
        sound_starts=np.cumsum([0, *map(len, sound)]),
    )


def write_stand_ins(corpus: Corpus, out: Path) -> None:
    """Codes and embeddings for a corpus that no tokenizer has heard.

    A code is six ternary digits of random projections of its two frames; an embedding is a random
    direction for each speaker with a little of the utterance's own.
    """
    out.mkdir(parents=True, exist_ok=True)
    counts = -(-(np.diff(corpus.speech_starts) // 160) // 4)
    starts = np.cumsum([0, *counts])
    mel = flow_examples.mel_of_codes(corpus, starts, torch.device("cpu")).float().flatten(1)
    generator = torch.Generator().manual_seed(0)
    projected = (mel - mel.mean(0)) @ torch.randn(2 * MELS, ACTIVE_DIGITS, generator=generator)
    low, high = projected.quantile(torch.tensor([1 / 3, 2 / 3]), dim=0)
    digits = (projected > low).long() + (projected > high).long()  # [total, 6]
    codes = digits @ 3 ** torch.arange(ACTIVE_DIGITS)
    np.save(out / "codes.npy", codes.numpy().astype(np.int16))
    np.save(out / "codes_starts.npy", starts)
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((len(corpus.speakers), FLOW.spk_embed_dim))
    own = 0.3 * rng.standard_normal((len(counts), FLOW.spk_embed_dim))
    embeddings = directions[[u.speaker for u in corpus.utterances]] + own
    np.save(out / "embeddings.npy", embeddings.astype(np.float32))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return sweeps()


@pytest.fixture(scope="module")
def prepared(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    write_stand_ins(corpus, out)
    return out


@pytest.fixture(scope="module")
def recordings(corpus: Corpus, prepared: Path) -> flow_examples.Recordings:
    return flow_examples.Recordings.load(corpus, prepared, torch.device("cpu"))


def test_mels_are_those_of_a_voice_prompt(
    corpus: Corpus, recordings: flow_examples.Recordings
) -> None:
    for index in range(len(corpus.utterances)):
        start, end = corpus.sound_starts[index : index + 2]
        sound = torch.from_numpy(corpus.sound[start:end].astype(np.float32) / 32768)
        _, _, mel = recordings.utterance(index)
        expected = fit_frames(voice_mel_spectrogram(sound), len(mel))
        torch.testing.assert_close(mel, expected, atol=0.005, rtol=0)  # half precision


@pytest.fixture(scope="module")
def partners(corpus: Corpus, recordings: flow_examples.Recordings) -> flow_examples.Partners:
    return flow_examples.Partners(
        corpus, recordings.counts, prompts=np.arange(len(corpus.utterances))
    )


def test_rows_are_a_prompt_of_the_voice_and_the_target(
    corpus: Corpus, recordings: flow_examples.Recordings, partners: flow_examples.Partners
) -> None:
    examples = flow_examples.Examples(recordings, partners, seed=0)
    chosen = np.tile(np.arange(0, len(corpus.utterances), 2), 20)  # all of speaker 0
    plan = examples.plan(chosen)
    batch = examples.gather(plan)
    assert (plan.utterance % 2 == 0).all() and (plan.told % 2 == 0).all()
    assert torch.equal(batch.embeddings, recordings.embeddings[plan.told])
    for row, (target, prompt) in enumerate(zip(chosen, plan.utterance[:, 0], strict=True)):
        front, length = int(plan.count[row, :2].sum()), int(plan.lengths[row])
        codes, _, mel = recordings.utterance(int(target))
        end = front + len(codes)
        assert torch.equal(batch.mel[row, 2 * front : 2 * end], mel)
        lender, _, _ = recordings.utterance(int(plan.donor[row, 2]))
        nearest = (2 * torch.arange(len(codes)) + 1) * len(lender) // (2 * len(codes))
        assert torch.equal(batch.codes[row, front:end], lender[nearest])
        if front:
            shown, _, heard = recordings.utterance(int(prompt))
            taken = slice(plan.offset[row, 0], plan.offset[row, 0] + plan.count[row, 0])
            assert torch.equal(batch.codes[row, : plan.count[row, 0]], shown[taken])
            expected = heard.unflatten(0, (-1, 2))[taken].flatten(0, 1)
            assert torch.equal(batch.mel[row, : len(expected)], expected)
            assert plan.told[row] == prompt != target
            assert batch.known[row] == front and batch.layout.first[row] in (front, length)
    prompted, lent = plan.count[:, 0] > 0, plan.donor[:, 2] != plan.utterance[:, 2]
    whole = plan.first == plan.lengths
    assert 0.5 < prompted.mean() < 0.8  # 70 %, less where the draw was itself
    assert 0.1 < whole.mean() < 0.4
    assert 0.1 < lent.mean() < 0.45


def test_a_pass_has_every_utterance_once(
    corpus: Corpus, recordings: flow_examples.Recordings, partners: flow_examples.Partners
) -> None:
    examples = flow_examples.Examples(recordings, partners, seed=0)
    drawn: list[int] = []
    plan = examples.plan

    def recorded(chosen: np.ndarray) -> flow_examples.Plan:
        drawn.extend(chosen)
        return plan(chosen)

    examples.plan = recorded  # type: ignore[method-assign]
    batches = examples.batches(np.arange(len(corpus.utterances)), size=4)
    lengths = [next(batches).layout.lengths for _ in range(len(corpus.utterances) // 4)]
    assert sorted(drawn) == list(range(len(corpus.utterances)))
    longest = torch.cat(lengths).max() - torch.cat(lengths).min()
    assert all(row.max() - row.min() < longest for row in lengths)


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
def test_main_leaves_a_checkpoint_and_a_report(
    corpus: Corpus, prepared: Path, tmp_path: Path
) -> None:
    for name in ("codes.npy", "codes_starts.npy", "embeddings.npy"):
        shutil.copy(prepared / name, tmp_path)
    corpus.save(tmp_path / "corpus")
    nano.main(tmp_path / "corpus", tmp_path, minutes=0.02, batch=4)
    assert load_flow(tmp_path).config == nano.FLOW
    assert {v.dtype for v in read_weights(tmp_path / "flow.pt").values()} == {torch.float16}
    report = json.loads((tmp_path / "flow_check.json").read_text())
    assert report["utterances"] == 2  # of the one sentence that is held out
    assert all(np.isfinite(value) for value in report.values())
