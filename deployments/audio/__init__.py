"""Recordings in, PCM out: decoding, resampling, sample formats."""

from deployments.audio.decode import Recording, channels_of, decode_audio
from deployments.audio.pcm import resample, to_pcm16

__all__ = ["Recording", "channels_of", "decode_audio", "resample", "to_pcm16"]
