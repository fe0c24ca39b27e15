"""Reference audio → VoicePrompt: everything that Token2Wav knows of a voice."""

from dataclasses import dataclass
from pathlib import Path

import kaldi_native_fbank
import numpy as np
import onnxruntime
import torch
from torch import Tensor

from deployments.audio_decoding import resample
from deployments.errors import ConfigError, VoiceUnusable
from deployments.mel import log_mel_spectrogram, voice_mel_spectrogram
from deployments.model_checks import (
    SPEAKER_ENCODER,
    SPEECH_TOKENIZER,
    check_speaker_encoder,
    check_speech_tokenizer,
)
from deployments.token2wav.configured_voices import decode_voice
from deployments.token2wav.contract import EngineOptions
from deployments.token2wav.token2wav_config import ReferenceAudioLimits
from deployments.weight_files import OnnxGraph, one_line, require_file

_TOKENIZER_RATE_HZ = 16_000
_MEL_RATE_HZ = 24_000
_FRAMES_PER_CODE = 2
_FBANK_BINS = 80
_USUAL_LIMITS = ReferenceAudioLimits()


@dataclass(frozen=True, slots=True, eq=False)
class VoicePrompt:
    """What is derived from one recording of a voice."""

    codes: Tensor  # [P] int64 audio tokens
    embedding: Tensor  # [192] float32 speaker embedding
    mel: Tensor  # [2P, 80] float32, 50 frames a second


class VoiceEncoder:
    """The S3 speech tokenizer and the CAM++ speaker encoder, both ONNX, on the CPU."""

    def __init__(
        self,
        token2wav_dir: Path,
        limits: ReferenceAudioLimits = _USUAL_LIMITS,
        *,
        codebook_size: int = 6561,
        num_threads: int | None = None,
    ) -> None:
        """Load both models.

        Args:
            token2wav_dir: the published folder.
            limits: the shortest and longest recording.
            codebook_size: codes below it are the flow's.
            num_threads: of onnxruntime, within one operator; None leaves its default.

        Raises:
            ConfigError: a model is missing or damaged, or is another one.
        """
        self._limits = limits
        self._codebook_size = codebook_size
        tokenizer, speaker = token2wav_dir / SPEECH_TOKENIZER, token2wav_dir / SPEAKER_ENCODER
        self._tokenizer = _session(tokenizer, num_threads)
        check_speech_tokenizer(tokenizer, _graph(self._tokenizer))
        self._speaker = _session(speaker, num_threads)
        check_speaker_encoder(speaker, _graph(self._speaker))

    @classmethod
    def load(cls, options: EngineOptions, codebook_size: int) -> "VoiceEncoder":
        """As `options` say. Raises ConfigError as the constructor does."""
        return cls(
            options.token2wav_dir,
            options.reference_audio,
            codebook_size=codebook_size,
            num_threads=options.num_threads,
        )

    def encode(self, data: bytes) -> VoicePrompt:
        """Describe the voice in a recording.

        Raises:
            AudioUnreadable: the recording cannot be decoded.
            ReferenceAudioUnfit: it is too short or too long.
            VoiceUnusable: its mel or its embedding is not finite, or a code is no audio token.
        """
        samples, rate_hz = decode_voice(data, self._limits)
        speech = resample(samples, rate_hz, _TOKENIZER_RATE_HZ)
        codes = self._codes(speech)
        # From the recording as it came: its 16 kHz version has lost what is above 8 kHz, and
        # the filters reach to just there.
        sound = torch.from_numpy(resample(samples, rate_hz, _MEL_RATE_HZ))
        mel = fit_frames(voice_mel_spectrogram(sound), _FRAMES_PER_CODE * len(codes))
        embedding = self._embedding(speech)
        self._require_usable(codes, embedding, mel)
        return VoicePrompt(codes, embedding, mel)

    def _require_usable(self, codes: Tensor, embedding: Tensor, mel: Tensor) -> None:
        if not mel.isfinite().all():
            raise VoiceUnusable("mel spectrogram holds values that are not finite")
        if not embedding.isfinite().all():
            raise VoiceUnusable("speaker embedding holds values that are not finite")
        if not len(codes) or not 0 <= int(codes.min()) <= int(codes.max()) < self._codebook_size:
            raise VoiceUnusable("audio tokens are not of the model's codebook")

    def _codes(self, speech: np.ndarray) -> Tensor:
        mel = log_mel_spectrogram(torch.from_numpy(speech))[None].numpy()  # [1, 128, T]
        if not np.isfinite(mel).all():  # the tokenizer would make codes of it all the same
            raise VoiceUnusable("mel spectrogram holds values that are not finite")
        length = np.array([mel.shape[2]], dtype=np.int32)
        (codes,) = self._tokenizer.run(None, {"feats": mel, "feats_length": length})
        return torch.from_numpy(np.asarray(codes).reshape(-1).astype(np.int64))

    def _embedding(self, speech: np.ndarray) -> Tensor:
        features = kaldi_fbank(speech)
        features -= features.mean(axis=0)
        (embedding,) = self._speaker.run(None, {self._speaker.get_inputs()[0].name: features[None]})
        return torch.from_numpy(np.asarray(embedding, dtype=np.float32).reshape(-1))


def kaldi_fbank(speech: np.ndarray) -> np.ndarray:
    """Kaldi's log mel filterbank of 16 kHz speech in -1 … 1, without dither.

    25 ms Povey windows every 10 ms, only whole ones, pre-emphasis 0.97, 80 mels from 20 Hz.

    Returns:
        [T, 80] float32
    """
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = _TOKENIZER_RATE_HZ
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = _FBANK_BINS
    options.mel_opts.low_freq = 20.0
    options.mel_opts.high_freq = 0.0
    options.energy_floor = 1.0
    fbank = kaldi_native_fbank.OnlineFbank(options)
    fbank.accept_waveform(_TOKENIZER_RATE_HZ, speech)
    fbank.input_finished()
    return np.stack([fbank.get_frame(index) for index in range(fbank.num_frames_ready)])


def fit_frames(mel: Tensor, frames: int) -> Tensor:
    """Make [T, mels] `frames` long: cut its end off, or repeat its last frame."""
    missing = frames - len(mel)
    if missing <= 0:
        return mel[:frames]
    return torch.cat((mel, mel[-1:].expand(missing, -1)))


def _session(path: Path, num_threads: int | None) -> onnxruntime.InferenceSession:
    require_file(path)
    options = onnxruntime.SessionOptions()
    if num_threads is not None:
        options.intra_op_num_threads = num_threads
    try:
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own exceptions have no base of their own
        raise ConfigError(f"{path} cannot be loaded: {one_line(error)}") from error


def _graph(session: onnxruntime.InferenceSession) -> OnnxGraph:
    """What the session's model takes; onnxruntime has a name or None for a variable size."""
    inputs = {
        value.name: tuple(size if isinstance(size, int) else None for size in value.shape)
        for value in session.get_inputs()
    }
    return OnnxGraph(inputs, len(session.get_outputs()))
