"""Random weights of the flow and the vocoder, scaled so that the noise that they make is sound:
neither silent nor clipped, with a pitch in the range of speech.
"""

import math
from pathlib import Path

import torch

from deployments.token2wav.functional import Flow, FlowConfig, Hift, HiftConfig
from serve_app.checkpoint.random_values import Rule, random_state_dict

_WEIGHT_NORM_SIZE = r"original0$"  # the size of each channel's weight; its direction is original1
_TYPICAL_LOG_MEL = -5.0

_FLOW_RULES = (
    Rule("input_embedding", gain=8.0),  # 64 = 8² channels and more: a spread of 1 and above
    Rule("adaLN_modulation.*weight", gain=0.3),
    Rule("pos_bias", gain=0.5),
    # the solver adds up the estimate over t = 0 … 1, so its mean is the mean of the mel
    Rule("final_layer.linear.bias", gain=10.0, mean=_TYPICAL_LOG_MEL),
    Rule("final_layer.linear.weight", gain=1.0),
)

_HIFT_RULES = (
    Rule(r"f0_predictor.condnet.0.*" + _WEIGHT_NORM_SIZE, gain=0.2, mean=0.3),  # log-mels are large
    Rule(r"f0_predictor.classifier.bias", gain=0.0, mean=150.0),  # Hz
    Rule(r"f0_predictor.classifier.weight", gain=10.0),
    Rule(r"f0_predictor.*" + _WEIGHT_NORM_SIZE, gain=1.0, mean=1.4),
    Rule(r"conv_pre.*" + _WEIGHT_NORM_SIZE, gain=0.2, mean=0.3),
    # a transposed convolution's weight is normalised per input channel: √(stride / 2) keeps the
    # variance where it halves the channels
    *(
        Rule(rf"ups\.{stage}\..*{_WEIGHT_NORM_SIZE}", gain=0.5, mean=math.sqrt(rate / 2))
        for stage, rate in enumerate((8, 5, 3))
    ),
    Rule(r"resblocks.*" + _WEIGHT_NORM_SIZE, gain=0.5, mean=0.4),  # three residuals in a row
    Rule(r"conv_post.*" + _WEIGHT_NORM_SIZE, gain=0.5, mean=0.4),
    Rule(r"conv_post.*bias", gain=1.0, mean=-0.5),  # log magnitude
    Rule(r"m_source.l_linear.weight", gain=2.0),
)


def write_flow(directory: Path, config: FlowConfig, seed: int) -> None:
    """Write `flow.yaml` and `flow.pt`."""
    (directory / "flow.yaml").write_text(config.to_yaml(), encoding="utf-8")
    with torch.device("meta"):
        flow = Flow(config)
    torch.save(random_state_dict(flow, seed=seed, rules=_FLOW_RULES), directory / "flow.pt")


def write_hift(directory: Path, config: HiftConfig, seed: int) -> None:
    """Write `hift.pt`. Its keys begin with `generator.`, as the published ones do."""
    with torch.device("meta"):
        hift = Hift(config)
    weights = random_state_dict(hift, seed=seed, rules=_HIFT_RULES)
    torch.save({f"generator.{k}": v for k, v in weights.items()}, directory / "hift.pt")
