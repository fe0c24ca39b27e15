"""Token2Wav's networks: flow matching (tokens → mels) and HiFT (mels → samples)."""

from deployments.token2wav.model.config import DiTConfig, EncoderConfig, FlowConfig
from deployments.token2wav.model.flow import Flow, FlowInput, FlowState, FlowSynthesizer
from deployments.token2wav.model.hift import SAMPLES_PER_FRAME, Hift, HiftConfig
from deployments.token2wav.model.load import load_flow, load_hift
from deployments.token2wav.model.vocoder import HiftInput, HiftState, Vocoder

__all__ = [
    "SAMPLES_PER_FRAME",
    "DiTConfig",
    "EncoderConfig",
    "Flow",
    "FlowConfig",
    "FlowInput",
    "FlowState",
    "FlowSynthesizer",
    "Hift",
    "HiftConfig",
    "HiftInput",
    "HiftState",
    "Vocoder",
    "load_flow",
    "load_hift",
]
