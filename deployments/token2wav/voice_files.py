"""Which recordings the configured voices come from."""

import os
from collections.abc import Mapping
from pathlib import Path

from deployments.errors import ConfigError
from deployments.model_files import ModelFiles, find_path
from deployments.token2wav.token2wav_config import Token2WavConfig

DEFAULT_VOICE_VARIABLE = "STEP_AUDIO2_DEFAULT_PROMPT_WAV"
SHIPPED_VOICE = Path(__file__).parent / "assets" / "default_voice.wav"


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
