"""How the vocoder's file sounds as the server uses it, on whole recordings."""

import json
import wave
from pathlib import Path

import torch
from torch import Tensor

from deployments.mel import voice_mel_spectrogram
from deployments.token2wav.functional import HiftInput, HiftState, Vocoder, load_hift
from deployments.token2wav.functional.source import VOICED_ABOVE_HZ
from tests.nano import pitch, sizes
from tests.nano.corpus.store import Corpus


def check(corpus: Corpus, utterances: list[int], out: Path) -> dict[str, float]:
    """Vocode whole utterances by `out/hift.pt` as the server does; write and return the means."""
    vocoder = Vocoder(load_hift(out), seed=0)
    rows = []
    for index in utterances:
        start, end = corpus.sound_starts[index : index + 2]
        true = torch.from_numpy(corpus.sound[start:end].astype("float32") / 32768)
        mel = voice_mel_spectrogram(true)
        made = vocoder.whole(mel)
        rows.append(_compare(vocoder, true, mel, made))
        if len(rows) <= 3:
            _write_wav(out / f"vocoder_{index}_true.wav", true)
            _write_wav(out / f"vocoder_{index}_made.wav", made)
    means = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    (out / "vocoder_check.json").write_text(
        json.dumps({"utterances": len(rows)} | {k: round(v, 4) for k, v in means.items()}, indent=2)
        + "\n"
    )
    return means


def _compare(vocoder: Vocoder, true: Tensor, mel: Tensor, made: Tensor) -> dict[str, float]:
    """Of one utterance: samples [N], its mel [T, 80], what the vocoder made of it [480 T]."""
    tracked = pitch.track_pitch(pitch.with_context(true))[0]
    heard = pitch.track_pitch(pitch.with_context(made))[0]
    with torch.inference_mode():
        predicted = vocoder.hift.f0_predictor(mel.T[None])[0]
    predicted = torch.where(predicted > VOICED_ABOVE_HZ, predicted, 0.0)  # as the source takes it
    return {
        "log_mel_l1": float((voice_mel_spectrogram(made) - mel).abs().mean()),
        "streamed_log_mel_l1": float(
            (voice_mel_spectrogram(_streamed(vocoder, mel)) - mel).abs().mean()
        ),
        "sound_pitch_error": _pitch_error(heard, tracked),
        "sound_voicing_agreement": float(((heard > 0) == (tracked > 0)).float().mean()),
        "predictor_pitch_error": _pitch_error(predicted, tracked),
        "predictor_voicing_agreement": float(((predicted > 0) == (tracked > 0)).float().mean()),
    }


def _pitch_error(pitch: Tensor, tracked: Tensor) -> float:
    """The median relative error where both [T] have pitch."""
    both = (pitch > 0) & (tracked > 0)
    return float((pitch[both] / tracked[both] - 1).abs().median()) if both.any() else 1.0


def _streamed(vocoder: Vocoder, mel: Tensor) -> Tensor:
    """Vocode [T, 80] by chunks of 50 frames, the server's. [480 T]"""
    state, parts = HiftState.empty(vocoder.hift), []
    chunks = mel.split(50)
    for index, chunk in enumerate(chunks):
        row = HiftInput(chunk, last=index == len(chunks) - 1, state=state)
        (samples,), (state,) = vocoder.step([row])
        parts.append(samples)
    return torch.cat(parts)


def _write_wav(path: Path, samples: Tensor) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sizes.SOUND_RATE_HZ)
        file.writeframes((samples * 32767).to(torch.int16).numpy().tobytes())
