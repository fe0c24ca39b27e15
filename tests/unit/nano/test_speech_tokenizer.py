"""The speech tokenizer: its codes alone and in batches, in torch and in ONNX; how it is taught."""

import io
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch

from deployments.mel import log_mel_spectrogram
from deployments.token2wav.voice import VoiceEncoder
from serve_app.checkpoint.onnx_models import write_speaker_encoder
from tests.nano import speech_tokenizer
from tests.nano.codes import encode_corpus, load_codes
from tests.nano.corpus.store import Corpus
from tests.nano.sizes import USED_CODES
from tests.nano.speech_tokenizer import (
    lack_of_variety,
    lesson,
    letter_error_rate,
    stretched,
)
from tests.nano.speech_tokenizer_examples import Alphabet, Classroom, aligned_partners
from tests.nano.speech_tokenizer_network import SpeechTokenizer, export, hear, indices_of
from tests.nano.speech_tokenizer_teachers import Student
from tests.unit.nano.hums import RECORDINGS, padded, small_corpus


@pytest.fixture
def tokenizer() -> SpeechTokenizer:
    """Random, with weights that 16 bits hold."""
    torch.manual_seed(0)
    made = SpeechTokenizer()
    made.load_state_dict({key: value.half().float() for key, value in made.state_dict().items()})
    return made.eval()


@torch.no_grad()
def test_codes_in_a_batch_are_those_of_each_recording_alone(tokenizer: SpeechTokenizer) -> None:
    batch = tokenizer(*hear(*padded(RECORDINGS)))
    for values, recording in zip(batch, RECORDINGS, strict=True):
        mel = log_mel_spectrogram(torch.from_numpy(recording / np.float32(32768)))
        alone = tokenizer(mel[None])[0]
        assert alone.shape[1] == -(-mel.shape[1] // 4)
        assert (values[:, : alone.shape[1]] - alone).abs().max() < 1e-3


@torch.no_grad()
def test_a_code_hears_a_quarter_of_a_second_around_it_and_no_more(
    tokenizer: SpeechTokenizer,
) -> None:
    mel = torch.randn(1, 128, 400)
    changed = mel.clone()
    changed[..., 200:204] += 1.0  # code 50
    moved = (tokenizer(mel) != tokenizer(changed)).any(1)[0].nonzero()[:, 0]
    assert 50 in moved
    assert 50 - moved.min() <= 6 and moved.max() - 50 <= 6


def test_an_index_has_the_digits_in_base_three_the_lowest_first() -> None:
    values = torch.tensor([[-0.4, 0.9, -0.8, -0.9, -1.0, 0.6]])[..., None]  # 1 2 0 0 0 2
    assert indices_of(values).tolist() == [[1 + 2 * 3 + 2 * 3**5]]
    assert indices_of(torch.ones(1, 6, 1)).item() == USED_CODES - 1


@torch.no_grad()
def test_the_onnx_model_gives_the_codes_of_torch_at_any_length(
    tokenizer: SpeechTokenizer, tmp_path: Path
) -> None:
    torch.save(tokenizer.state_dict(), tmp_path / "state.pt")
    export(tmp_path / "state.pt", tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").stat().st_size < 3_000_000
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    assert {i.name for i in session.get_inputs()} == {"feats", "feats_length"}
    same = total = 0
    for frames in (1, 2, 3, 4, 5, 99, 100, 1001, 2998):
        mel = torch.randn(1, 128, frames, generator=torch.Generator().manual_seed(frames))
        length = np.array([frames], dtype=np.int32)
        (codes,) = session.run(None, {"feats": mel.numpy(), "feats_length": length})
        assert codes.shape == (1, -(-frames // 4)) and codes.dtype == np.int32
        same += int((codes == indices_of(tokenizer(mel)).numpy()).sum())
        total += codes.size
    assert same / total >= 0.995
    assert len(np.unique(codes)) > 50  # a model that always says the same would be equal too


def test_what_follows_the_stated_length_is_not_heard(
    tokenizer: SpeechTokenizer, tmp_path: Path
) -> None:
    torch.save(tokenizer.state_dict(), tmp_path / "state.pt")
    export(tmp_path / "state.pt", tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    mel = torch.randn(1, 128, 60).numpy()
    length = np.array([50], dtype=np.int32)
    (whole,) = session.run(None, {"feats": mel, "feats_length": length})
    (cut,) = session.run(None, {"feats": mel[..., :50], "feats_length": length})
    assert whole.tolist() == cut.tolist()


def test_two_standard_recordings_of_a_sentence_are_partners_if_equally_long(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    assert aligned_partners(corpus)[:6].tolist() == [1, 0, 2, 4, 3, 5]
    starts = corpus.speech_starts.copy()
    starts[1] += 1600  # the first is now a tenth of a second longer and the second shorter
    moved = Corpus(**{**vars(corpus), "speech_starts": starts})
    assert aligned_partners(moved)[:6].tolist() == [0, 1, 2, 4, 3, 5]


def test_stretching_maps_time_linearly() -> None:
    ramp = torch.arange(20.0)[None, None] + 0.5  # the time at the middle of each frame
    twice = stretched(ramp, torch.tensor([2.0]), 9)[0, 0]
    assert torch.allclose(twice, 2 * (torch.arange(9) + 0.5))
    assert torch.equal(stretched(ramp, torch.tensor([1.0]), 20), ramp)


def test_the_alphabet_leaves_punctuation_and_case_out() -> None:
    alphabet = Alphabet(["It's 2, no?"])
    spelled = alphabet.numbers("It's 2, no?")
    assert [alphabet.letters[n - 1] for n in spelled] == list("it's 2 no")
    assert len(alphabet) == len(set("it's 2 no")) + 1  # and the blank


def test_the_letter_error_rate_joins_repeats_and_skips_blanks(tmp_path: Path) -> None:
    small_corpus(tmp_path)
    room = Classroom(Corpus.open(tmp_path), torch.device("cpu"))
    views = room.views(torch.tensor([9]))  # "Good.", alone: its own partner
    g, o, d = (room.alphabet.numbers(c)[0] for c in "god")
    frames = [g, g, 0, o, 0, o, o, d] + [0] * (2 * int(views.code_counts[0]) - 8)
    scores = torch.nn.functional.one_hot(torch.tensor([frames, frames]), len(room.alphabet)).float()
    assert letter_error_rate(scores, views) == 0
    scores[:, 4] = scores[:, 5]  # without the blank between them two o are one
    assert letter_error_rate(scores, views) == 0.25


def test_digits_must_vary_and_each_for_itself() -> None:
    mask = torch.ones(8, 1, 100)
    mask[:, :, 50:] = 0
    free = torch.randint(-1, 2, (8, 6, 100)).float()
    one = free[:, :1].expand(-1, 6, -1)
    still = torch.where(mask == 1, 0.3, free)  # what lies past an end does not count
    spread, alike = lack_of_variety(free, mask)
    assert spread < 0.01 and alike < 0.05
    assert lack_of_variety(one, mask)[1] > 1
    assert lack_of_variety(still, mask)[0] > 0.7


def test_a_few_lessons_teach(tmp_path: Path) -> None:
    small_corpus(tmp_path)
    torch.manual_seed(0)
    room = Classroom(Corpus.open(tmp_path), torch.device("cpu"))
    student = Student(len(room.alphabet), room.speakers)
    optimizer = torch.optim.AdamW(student.parameters(), lr=5e-4)
    views = room.views(torch.tensor([0, 2, 3]))
    seen = []
    for _ in range(14):
        losses, _ = lesson(student, views, 0.5, augmented=True)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        seen.append({key: value.item() for key, value in losses.items()})
    assert all(np.isfinite(list(row.values())).all() for row in seen)
    assert seen[-1]["ctc"] < 0.8 * seen[0]["ctc"]
    assert seen[-1]["painting"] < 0.8 * seen[0]["painting"]


def test_the_corpus_has_the_codes_that_the_server_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a handful of steps at the full rate would leave one code for everything
    monkeypatch.setattr(speech_tokenizer, "LEARNING_RATE", 1e-5)
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    opened = small_corpus(corpus)
    speech_tokenizer.main(corpus, out, minutes=0.02, batch=2)
    encode_corpus(corpus, out, batch=5)
    codes, starts = load_codes(out)
    assert codes.dtype == np.int16 and codes.max() < USED_CODES
    samples = np.diff(opened.speech_starts)
    assert np.diff(starts).tolist() == [-(-(n // 160) // 4) for n in samples]

    export(out / "speech_tokenizer.pt", out / "speech_tokenizer_v2_25hz.onnx")
    write_speaker_encoder(out / "campplus.onnx", seed=0)
    encoder = VoiceEncoder(out, num_threads=1)
    served = []
    for first, last in zip(opened.speech_starts, opened.speech_starts[1:], strict=False):
        file = io.BytesIO()
        soundfile.write(file, opened.speech[first:last], 16_000, format="WAV", subtype="PCM_16")
        served.append(encoder.encode(file.getvalue()).codes.numpy())
    assert (np.concatenate(served) == codes).mean() > 0.99
    assert len(np.unique(codes)) > 10
