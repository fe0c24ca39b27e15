"""What the flow is trained on: mels as they are served, rows of prompt and target."""

import numpy as np
import torch

from deployments.mel import voice_mel_spectrogram
from deployments.token2wav.voice import fit_frames
from tests.nano import flow_examples
from tests.nano.corpus.store import Corpus


def test_mels_are_those_of_a_voice_prompt(
    melodies: Corpus, recordings: flow_examples.Recordings
) -> None:
    for index in range(len(melodies.utterances)):
        start, end = melodies.sound_starts[index : index + 2]
        sound = torch.from_numpy(melodies.sound[start:end].astype(np.float32) / 32768)
        _, _, mel = recordings.utterance(index)
        expected = fit_frames(voice_mel_spectrogram(sound), len(mel))
        torch.testing.assert_close(mel, expected, atol=0.005, rtol=0)  # half precision


def test_rows_are_a_prompt_of_the_voice_and_the_target(
    melodies: Corpus, recordings: flow_examples.Recordings, partners: flow_examples.Partners
) -> None:
    examples = flow_examples.Examples(recordings, partners, seed=0)
    chosen = np.tile(np.arange(0, len(melodies.utterances), 2), 20)  # all of speaker 0
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
    melodies: Corpus, recordings: flow_examples.Recordings, partners: flow_examples.Partners
) -> None:
    examples = flow_examples.Examples(recordings, partners, seed=0)
    drawn: list[int] = []
    plan = examples.plan

    def recorded(chosen: np.ndarray) -> flow_examples.Plan:
        drawn.extend(chosen)
        return plan(chosen)

    examples.plan = recorded  # type: ignore[method-assign]
    batches = examples.batches(np.arange(len(melodies.utterances)), size=4)
    lengths = [next(batches).layout.lengths for _ in range(len(melodies.utterances) // 4)]
    assert sorted(drawn) == list(range(len(melodies.utterances)))
    longest = torch.cat(lengths).max() - torch.cat(lengths).min()
    assert all(row.max() - row.min() < longest for row in lengths)
