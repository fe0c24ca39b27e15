"""Recordings in, PCM out: decoding, resampling, sample formats."""

from deployments.audio_decoding.decode import Recording, channels_of, decode_audio
from deployments.audio_decoding.pcm import resample, to_pcm16

__all__ = ["Recording", "channels_of", "decode_audio", "resample", "to_pcm16"]
