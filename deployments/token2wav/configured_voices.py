"""Which recordings the configured voices come from."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deployments.audio_decoding import decode_audio
from deployments.errors import AudioTooLong, AudioUnreadable, ConfigError, ReferenceAudioUnfit
from deployments.model_files import ModelFiles, find_path
from deployments.token2wav.token2wav_config import ReferenceAudioLimits, Token2WavConfig

DEFAULT_VOICE_VARIABLE = "STEP_AUDIO2_DEFAULT_PROMPT_WAV"
SHIPPED_VOICE = Path(__file__).parent / "assets" / "default_voice.wav"


@dataclass(frozen=True, slots=True)
class VoiceRecording:
    """A configured voice's recording, as its file holds it."""

    path: Path
    data: bytes
    seconds: float


def decode_voice(data: bytes, limits: ReferenceAudioLimits) -> tuple[np.ndarray, int]:
    """The samples [N] float32 of a voice recording, and their rate in Hz.

    Raises:
        AudioUnreadable: the recording cannot be decoded.
        ReferenceAudioUnfit: it is too short or too long.
    """
    try:
        samples, rate_hz = decode_audio(data, max_s=limits.max_s)
    except AudioTooLong as error:
        raise ReferenceAudioUnfit(error.seconds, limits.min_s, limits.max_s) from None
    seconds = len(samples) / rate_hz
    if not limits.min_s <= seconds <= limits.max_s:
        raise ReferenceAudioUnfit(seconds, limits.min_s, limits.max_s)
    return samples, rate_hz


def read_voices(
    files: Mapping[str, Path], limits: ReferenceAudioLimits
) -> dict[str, VoiceRecording]:
    """The recordings of configured voices by name.

    Raises:
        ConfigError: one cannot be read or decoded, is too long or too short; the voice is named.
    """
    return {name: _read(name, path, limits) for name, path in files.items()}


def _read(name: str, path: Path, limits: ReferenceAudioLimits) -> VoiceRecording:
    try:
        data = path.read_bytes()
        samples, rate_hz = decode_voice(data, limits)
    except (OSError, AudioUnreadable, ReferenceAudioUnfit) as error:
        raise ConfigError(f"the voice {name!r} ({path}): {error}") from error
    return VoiceRecording(path, data, len(samples) / rate_hz)


def voice_files(
    config: Token2WavConfig, files: ModelFiles, environ: Mapping[str, str] = os.environ
) -> dict[str, Path]:
    """The recording of each configured voice by name, `default` first.

    The default is the first of: the configuration's, `STEP_AUDIO2_DEFAULT_PROMPT_WAV`, the
    checkpoint's own, the one that this application ships.

    Raises:
        ConfigError: a named file is not there.
    """
    voices = {"default": _default_voice(config, files, environ)}
    for name, path in config.voices.items():
        voices[name] = _existing(path, f"the voice {name!r}")
    return voices


def _default_voice(config: Token2WavConfig, files: ModelFiles, environ: Mapping[str, str]) -> Path:
    if config.default_voice is not None:
        return _existing(config.default_voice, "default_voice")
    if path := environ.get(DEFAULT_VOICE_VARIABLE):
        return _existing(path, DEFAULT_VOICE_VARIABLE)
    return next((path for path in files.default_voices() if path.is_file()), SHIPPED_VOICE)


def _existing(path: str, what: str) -> Path:
    found = find_path(path)
    if not found.is_file():
        raise ConfigError(f"{what} names {path}, which is not a file")
    return found
