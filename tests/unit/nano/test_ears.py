"""The ears: what becomes of speech on its way, what a lesson asks, what a loss teaches."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from deployments.mel import log_mel_spectrogram
from deployments.thinker import tasks
from deployments.thinker.vllm_plugin.lengths import MEL_PADDING, placeholder_tokens
from serve_app.checkpoint.tokenizer import make_tokenizer
from serve_app.checkpoint.vocabulary import Vocabulary, small_vocabulary
from tests.nano.corpus.shards import Shard
from tests.nano.ears import rooms
from tests.nano.ears.check import collapsed, opus
from tests.nano.ears.lessons import Recordings
from tests.nano.ears.listener import Listener
from tests.nano.ears.train import joined, split
from tests.nano.log_mels import log_mels

_CPU = torch.device("cpu")
_QUIET = rooms.Shares(0, 0, 0, 0, 0, 0, 0, 0, 0)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return small_vocabulary()


@pytest.fixture(scope="module")
def tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    return make_tokenizer(vocabulary)


@pytest.fixture
def recordings(tmp_path: Path, tokenizer: Tokenizer) -> Iterator[Recordings]:
    rng = np.random.default_rng(0)
    shard = Shard()
    for number in range(6):
        shard.sentences.append("ba " * (number + 1))
        shard.voices.append("someone")
        shard.speeds.append(1.0)
        shard.phonemes.append([16, 40 + number, 41])
        shard.speech.append(rng.integers(-9000, 9000, 6000 + 2000 * number).astype(np.int16))
    shard.save(tmp_path / "a-0000.npz")
    yield Recordings({tmp_path: 1.0}, tokenizer, {" ": 16}, _CPU)


def test_a_recording_at_its_own_rate_is_heard_as_it_is(recordings: Recordings) -> None:
    _, samples, lengths = recordings.plain(np.array([2, 4]))
    for row, index in enumerate((2, 4)):
        begin, count = recordings.starts[index], recordings.lengths[index]
        wanted = recordings.bank[begin : begin + count].float() / 32768
        torch.testing.assert_close(samples[row, : lengths[row]], wanted)
        assert not samples[row, lengths[row] :].any()


def test_a_tone_that_is_played_faster_is_higher() -> None:
    tone = (8000 * torch.sin(torch.arange(16_000) * 2 * torch.pi * 400 / 16_000)).to(torch.int16)
    starts, lengths = torch.tensor([0]), torch.tensor([16_000])
    fast = rooms.resampled(
        tone, starts, lengths, torch.tensor([1.25]), torch.tensor([800]), 13_600
    )[0]
    assert not fast[:800].any()
    spectrum = torch.fft.rfft(fast[800:12_800] * torch.hann_window(12_000)).abs()
    assert abs(int(spectrum.argmax()) * 16_000 / 12_000 - 500) < 3


def test_nothing_is_changed_but_the_loudness_where_nothing_happens() -> None:
    samples = 0.01 * torch.randn(3, 4000)
    lengths = torch.tensor([4000, 3000, 2000])
    changed = rooms.altered(samples, lengths, _QUIET)
    for row, length in enumerate(lengths):
        gain = changed[row, 1000] / samples[row, 1000]
        torch.testing.assert_close(
            changed[row, 100 : length - 100], gain * samples[row, 100 : length - 100],
            atol=2e-4, rtol=0.02,
        )  # fmt: skip
        assert not changed[row, length:].any()


def test_a_telephone_lets_a_middle_tone_pass_and_no_other() -> None:
    time_s = torch.arange(16_000) / 16_000
    tones = torch.stack([torch.sin(2 * torch.pi * hz * time_s) for hz in (100.0, 1000.0, 5000.0)])
    edge = torch.ones(3, 1)
    passed = rooms.banded(tones, 300 * edge, 3400 * edge).square().mean(1) / 0.5
    assert passed[0] < 0.01
    assert passed[1] > 0.98
    assert passed[2] < 0.01


def test_eight_bits_keep_soft_sounds_within_a_few_percent() -> None:
    samples = torch.tensor([0.5, -0.05, 0.005, 0.0])
    torch.testing.assert_close(rooms.mu_law(samples), samples, rtol=0.05, atol=1e-6)


def test_a_noise_has_a_power_of_one_and_is_another_in_each_row() -> None:
    torch.manual_seed(0)
    noise = rooms._noise(3, 5000, _CPU)
    torch.testing.assert_close(noise.square().mean(1), torch.ones(3))
    assert not torch.equal(noise[0], noise[1])


def test_any_number_of_rows_comes_back_from_its_spectra() -> None:
    samples = torch.randn(5, 1000)
    spectra = rooms._spectra(samples, 1024)
    torch.testing.assert_close(spectra, torch.fft.rfft(samples, 1024))
    torch.testing.assert_close(rooms._samples(spectra, 1024)[:, :1000], samples)


def test_opus_keeps_a_recordings_length_and_its_tone() -> None:
    tone = np.sin(np.arange(20_000) * 2 * np.pi * 400 / 16_000).astype(np.float32) / 4
    heard = opus(tone)
    assert len(heard) == len(tone)
    assert abs(int(np.abs(np.fft.rfft(heard[2000:18_000])).argmax()) - 400) < 3
    assert not np.array_equal(heard, tone)


def test_another_throat_moves_a_band_up_and_none_moves_nothing() -> None:
    mels = torch.zeros(1, 128, 3)
    mels[:, 60] = 1.0
    torch.testing.assert_close(rooms.warped(mels, torch.ones(1, 1)), mels, atol=1e-3, rtol=0)
    higher = rooms.warped(mels, torch.tensor([[1.1]]))
    assert higher[0, :, 0].argmax() > 60


def test_a_lesson_asks_as_the_server_does(recordings: Recordings, tokenizer: Tokenizer) -> None:
    rows = np.array([0, 5])
    lesson, samples, lengths = recordings.plain(rows)
    writer = recordings.template.writer
    special = writer.special
    for row, index in enumerate(rows):
        prompt = writer.prompt(tasks.transcribe(np.zeros(int(lengths[row]), np.float32)))
        at = prompt.index(special.audio_patch)
        speech = [special.audio_patch] * (placeholder_tokens(int(lengths[row])) - 2)
        answer = writer.written(recordings.sentences[index])
        wanted = [*prompt[:at], special.audio_start, *speech, special.audio_end, *prompt[at + 1 :]]
        ids = lesson.token_ids[row].tolist()
        assert ids[: len(wanted) + len(answer)] == [*wanted, *answer]
        assert int(lesson.starts[row]) == len(wanted)
        assert ids[lesson.patch] == special.audio_patch
        assert int(lesson.embeddings[row]) == len(speech)
    assert lesson.targets.tolist()[-1] == special.turn_end
    assert lesson.phonemes.tolist() == [40, 41, 45, 41]  # without the space
    assert lesson.phoneme_counts.tolist() == [2, 2]
    mels, frames = log_mels(samples, lengths, padding=MEL_PADDING)
    alone = log_mel_spectrogram(samples[0, : lengths[0]], padding=MEL_PADDING)
    torch.testing.assert_close(mels[0, :, : frames[0]], alone, atol=1e-4, rtol=1e-4)


def test_shards_that_are_written_later_are_heard_too(
    recordings: Recordings, tmp_path: Path
) -> None:
    assert not recordings.refresh()
    later = Shard(["ba"], ["other"], [1.0], [[40]], [np.ones(8000, np.int16)])
    later.save(tmp_path / "b-0000.npz")
    assert recordings.refresh()
    assert recordings.voices[-1] == "other"
    assert len(recordings.bank) == recordings.starts[-1] + 8000


def test_the_ears_learn_two_recordings(recordings: Recordings, vocabulary: Vocabulary) -> None:
    torch.manual_seed(0)
    model = Listener(vocabulary)
    lesson, samples, lengths = recordings.plain(np.arange(2))
    mels, frames = log_mels(samples, lengths, padding=MEL_PADDING)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    seen: dict[str, list[float]] = {"written": [], "phonemes": [], "words": []}
    for _ in range(3):
        losses = model.losses(lesson, mels, frames)
        for name, values in seen.items():
            values.append(losses[name].item())
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    assert all(values[-1] < values[0] for values in seen.values())


def test_a_path_is_read_without_repeats_and_blanks() -> None:
    assert collapsed([0, 5, 5, 0, 5, 7, 7, 0], blank=0) == [5, 5, 7]


def test_weights_in_parts_come_back_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.nano.ears.train._PART_BYTES", 100)
    state = {name: torch.arange(20).half() + n for n, name in enumerate("abcde")}
    split(state, tmp_path / "ears.pt")
    assert (tmp_path / "ears.pt.1").exists()
    back = joined(tmp_path / "ears.pt")
    assert list(back) == list(state)
    assert all(torch.equal(back[name].half(), state[name]) for name in state)
