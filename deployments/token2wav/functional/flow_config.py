"""The flow model's sizes, read from and written to the published `flow.yaml`.

The published file names Python classes for a loader that would construct anything. Here it is
inert data: four component names are known, any other tag is refused.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

import yaml

from deployments.errors import ConfigError

_FLOW = "cosyvoice2.flow.flow.CausalMaskedDiffWithXvec"
_ENCODER = "cosyvoice2.transformer.upsample_encoder_v2.UpsampleConformerEncoderV2"
_DECODER = "cosyvoice2.flow.flow_matching.CausalConditionalCFM"
_DIT = "cosyvoice2.flow.decoder_dit.DiT"
_COMPONENTS = (_FLOW, _ENCODER, _DECODER, _DIT)

# What this implementation does and a file may only confirm.
_FIXED_ENCODER_CHOICES = {
    "input_layer": "linear",
    "pos_enc_layer_type": "rel_pos_espnet",
    "selfattention_layer_type": "rel_selfattn",
    "normalize_before": True,
    "activation_type": "swish",
}


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Conformer encoder that turns 25 tokens into 50 frames a second. Defaults as published."""

    input_size: int = 512
    output_size: int = 512
    pre_lookahead_len: int = 3
    num_blocks: int = 6
    num_up_blocks: int = 4
    up_stride: int = 2
    up_scale_factor: float = 2
    attention_heads: int = 8
    key_bias: bool = True
    linear_units: int = 2048

    def __post_init__(self) -> None:
        if self.output_size % self.attention_heads:
            raise ConfigError("flow.yaml: the encoder's output_size is no multiple of its heads")
        if self.up_scale_factor != self.up_stride:
            raise ConfigError("flow.yaml: the encoder's up_scale_factor must equal its up_stride")


@dataclass(frozen=True, slots=True)
class DiTConfig:
    """Diffusion transformer that estimates the flow. Defaults as published."""

    in_channels: int = 320
    out_channels: int = 80
    mlp_ratio: float = 4.0
    depth: int = 16
    num_heads: int = 8
    head_dim: int = 64
    hidden_size: int = 512

    def __post_init__(self) -> None:
        if self.in_channels != 4 * self.out_channels:
            # noisy mel, encoder output, speaker and condition, side by side
            raise ConfigError("flow.yaml: the DiT's in_channels must be 4 x its out_channels")


@dataclass(frozen=True, slots=True)
class FlowConfig:
    """The whole flow model. Defaults as published."""

    input_size: int = 512
    output_size: int = 80
    spk_embed_dim: int = 192
    vocab_size: int = 6561
    encoder: EncoderConfig = EncoderConfig()
    dit: DiTConfig = DiTConfig()
    inference_cfg_rate: float = 0.7

    def __post_init__(self) -> None:
        if self.input_size != self.encoder.input_size or self.output_size != self.dit.out_channels:
            raise ConfigError("flow.yaml: the sizes of the flow and of its parts disagree")
        if not self.inference_cfg_rate > 0:
            raise ConfigError("flow.yaml: inference_cfg_rate must be positive")

    def to_yaml(self) -> str:
        """The text of a `flow.yaml` in the published format."""
        encoder = _Component(_ENCODER, {**asdict(self.encoder), **_FIXED_ENCODER_CHOICES})
        dit = _Component(_DIT, asdict(self.dit))
        decoder = _Component(
            _DECODER, {"inference_cfg_rate": self.inference_cfg_rate, "estimator": dit}
        )
        own = ("input_size", "output_size", "spk_embed_dim", "vocab_size")
        values = {name: getattr(self, name) for name in own}
        flow = _Component(
            _FLOW, {**values, "output_type": "mel", "encoder": encoder, "decoder": decoder}
        )
        return yaml.dump({"flow": flow}, Dumper=_Dumper, sort_keys=False)

    @classmethod
    def from_yaml(cls, text: str) -> "FlowConfig":
        """Parse a `flow.yaml`.

        Raises:
            ConfigError: not YAML, another component than the four known ones, an unknown key,
                or a choice that this implementation does not make.
        """
        try:
            document = yaml.load(text, Loader=_Loader)
        except yaml.YAMLError as error:
            raise ConfigError(f"flow.yaml cannot be read: {error}") from error
        flow = dict(_expect(document.get("flow") if isinstance(document, dict) else None, _FLOW))
        encoder = dict(_expect(flow.pop("encoder", None), _ENCODER))
        decoder = dict(_expect(flow.pop("decoder", None), _DECODER))
        dit = _expect(decoder.pop("estimator", None), _DIT)
        for key, value in _FIXED_ENCODER_CHOICES.items():
            if encoder.get(key, value) != value:
                raise ConfigError(f"flow.yaml: {key} must be {value!r}, not {encoder[key]!r}")
        if flow.pop("output_type", "mel") != "mel" or flow.pop("input_embedding", None):
            raise ConfigError("flow.yaml: only output_type mel without input_embedding is known")
        # The published encoder takes and ignores keys that it does not know.
        known = {field.name for field in fields(EncoderConfig)}
        encoder = {key: value for key, value in encoder.items() if key in known}
        try:
            return cls(**flow, encoder=EncoderConfig(**encoder), dit=DiTConfig(**dit), **decoder)
        except TypeError as error:
            raise ConfigError(f"flow.yaml: {error}") from error


@dataclass(frozen=True, slots=True)
class _Component:
    """A `!new:` node: the class that the file names, and its arguments."""

    name: str
    values: dict[str, Any]


def _expect(node: Any, name: str) -> dict[str, Any]:
    if not isinstance(node, _Component) or node.name != name:
        found = node.name if isinstance(node, _Component) else node
        raise ConfigError(f"flow.yaml: expected !new:{name}, found {found!r}")
    return node.values


class _Loader(yaml.SafeLoader):
    """Plain data, and `!new:` followed by one of the four known components."""


class _Dumper(yaml.SafeDumper):
    """Writes `_Component` as `!new:`."""


def _construct(loader: _Loader, name: str, node: yaml.Node) -> _Component:
    if name not in _COMPONENTS or not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"flow.yaml names an unknown component {name!r}")
    values = loader.construct_mapping(node, deep=True)
    return _Component(name, {str(key): value for key, value in values.items()})


def _represent(dumper: _Dumper, component: _Component) -> yaml.Node:
    return dumper.represent_mapping(f"!new:{component.name}", component.values)


_Loader.add_multi_constructor("!new:", _construct)
_Dumper.add_representer(_Component, _represent)
