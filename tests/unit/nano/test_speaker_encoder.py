"""The speaker encoder: its features, its embeddings alone and in batches, in torch and in ONNX."""

import io
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
import torch.nn.functional as F

from deployments.token2wav.voice import VoiceEncoder, kaldi_fbank
from serve_app.checkpoint.onnx_models import write_speech_tokenizer
from tests.nano import speaker_encoder
from tests.nano.speaker_encoder import (
    SpeakerEncoder,
    Student,
    centred_fbank,
    cosines,
    embed_corpus,
    fbank,
)
from tests.unit.nano.hums import RECORDINGS, hum, padded, small_corpus


@pytest.fixture
def encoder() -> SpeakerEncoder:
    torch.manual_seed(0)
    return SpeakerEncoder().eval()


@pytest.mark.parametrize("scale", [1.0, 0.001, 0.0])
def test_the_fbank_is_kaldis(scale: float) -> None:
    speech = (scale * hum(1.234, 140, 5) / 32768).astype(np.float32)
    ours = fbank(torch.from_numpy(speech)[None])[0].numpy()
    kaldis = kaldi_fbank(speech)
    assert ours.shape == kaldis.shape
    assert np.abs(ours - kaldis).max() < 1e-2


@torch.no_grad()
def test_an_embedding_in_a_batch_is_that_of_the_recording_alone(encoder: SpeakerEncoder) -> None:
    batch = encoder(*centred_fbank(*padded(RECORDINGS)))
    for embedding, recording in zip(batch, RECORDINGS, strict=True):
        features = fbank(torch.from_numpy(recording / np.float32(32768))[None])
        alone = encoder(features - features.mean(1, keepdim=True))[0]
        assert torch.allclose(embedding, alone, atol=1e-3)


@torch.no_grad()
def test_the_onnx_model_gives_the_embeddings_of_torch(
    encoder: SpeakerEncoder, tmp_path: Path
) -> None:
    state = {key: value.half().float() for key, value in encoder.state_dict().items()}
    encoder.load_state_dict(state)
    torch.save(state, tmp_path / "state.pt")
    speaker_encoder.export(tmp_path / "state.pt", tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").stat().st_size < 1_000_000
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    for shape in ((1, 98, 80), (3, 250, 80)):
        features = torch.randn(shape)
        (embedding,) = session.run(None, {"input": features.numpy()})
        assert embedding.shape == (shape[0], 192)
        assert np.abs(embedding - encoder(features).numpy()).max() < 1e-4


def test_a_few_steps_tell_two_speakers_and_their_pitches(tmp_path: Path) -> None:
    torch.manual_seed(0)
    corpus = small_corpus(tmp_path)
    samples, lengths = corpus.speech_bank(torch.device("cpu")).gather(torch.arange(12))
    speaker = torch.tensor([u.speaker for u in corpus.utterances])
    pitch = torch.tensor([float(u.pitch) for u in corpus.utterances])
    features, frames = centred_fbank(samples, lengths)
    student = Student(2)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    for _ in range(12):
        directions = F.normalize(student.encoder(features, frames), dim=-1)
        losses = student.losses(directions, speaker, pitch)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    assert losses["wrong"] == 0
    found = cosines(directions.detach(), speaker, pitch)
    assert found["cosine_same_speaker"] > found["cosine_between_speakers"] + 0.2


def test_the_corpus_has_the_embeddings_that_the_server_computes(tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    opened = small_corpus(corpus)
    speaker_encoder.main(corpus, out, minutes=0.02, batch=4)
    embed_corpus(corpus, out, batch=5)
    embeddings = np.load(out / "embeddings.npy")
    assert embeddings.shape == (12, 192) and embeddings.dtype == np.float32

    speaker_encoder.export(out / "speaker_encoder.pt", out / "campplus.onnx")
    write_speech_tokenizer(out / "speech_tokenizer_v2_25hz.onnx", seed=0)
    server = VoiceEncoder(out, num_threads=1)
    for index in (0, 7):
        first, last = opened.speech_starts[index : index + 2]
        file = io.BytesIO()
        soundfile.write(file, opened.speech[first:last], 16_000, format="WAV", subtype="PCM_16")
        served = server.encode(file.getvalue()).embedding.numpy()
        assert np.abs(served - embeddings[index]).max() < 0.01 * np.abs(embeddings[index]).max()
