"""Token2Wav's networks: flow matching (tokens → mels) and HiFT (mels → samples)."""

from deployments.token2wav.functional.flow import Flow, FlowInput, FlowState, FlowSynthesizer
from deployments.token2wav.functional.flow_config import DiTConfig, EncoderConfig, FlowConfig
from deployments.token2wav.functional.hift import SAMPLES_PER_FRAME, Hift, HiftConfig
from deployments.token2wav.functional.hift_stream import HiftInput, HiftState, Vocoder
from deployments.token2wav.functional.published_weights import load_flow, load_hift

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
