"""The two sizes of checkpoint that can be made."""

from dataclasses import dataclass
from typing import Literal

from deployments.thinker.vllm_plugin.hf_config import StepAudio2Config
from deployments.token2wav.functional import DiTConfig, EncoderConfig, FlowConfig, HiftConfig
from serve_app.checkpoint.vocabulary import Vocabulary, published_vocabulary, small_vocabulary

Size = Literal["tiny", "full"]


@dataclass(frozen=True)
class Checkpoint:
    """Every number that a checkpoint of one size is made of."""

    vocabulary: Vocabulary
    thinker: StepAudio2Config
    flow: FlowConfig
    hift: HiftConfig
    shard_bytes: int


def checkpoint(size: Size) -> Checkpoint:
    """The numbers of a size: `full` has the published ones.

    Raises:
        ValueError: there is no such size.
    """
    if size == "tiny":
        return _tiny()
    if size == "full":
        return _full()
    raise ValueError(f"there is no checkpoint size {size!r}, only 'tiny' and 'full'")


def _full() -> Checkpoint:
    vocabulary = published_vocabulary()
    return Checkpoint(
        vocabulary=vocabulary,
        thinker=_thinker(
            vocabulary,
            text={
                "hidden_size": 3584,
                "intermediate_size": 18944,
                "num_hidden_layers": 28,
                "num_attention_heads": 28,
                "num_attention_groups": 4,
                "max_position_embeddings": 16384,
                "torch_dtype": "bfloat16",
            },
            audio={},
        ),
        flow=FlowConfig(),
        hift=HiftConfig(),
        shard_bytes=2_000_000_000,
    )


def _tiny() -> Checkpoint:
    vocabulary = small_vocabulary()
    encoder = EncoderConfig(
        input_size=64,
        output_size=64,
        num_blocks=2,
        num_up_blocks=1,
        attention_heads=2,
        linear_units=128,
    )
    dit = DiTConfig(mlp_ratio=2.0, depth=2, num_heads=1, head_dim=64, hidden_size=64)
    return Checkpoint(
        vocabulary=vocabulary,
        thinker=_thinker(
            vocabulary,
            text={
                "hidden_size": 128,
                "intermediate_size": 256,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_attention_groups": 1,
                "max_position_embeddings": 8192,
                "torch_dtype": "float32",
            },
            audio={
                "n_audio_state": 64,
                "n_audio_head": 1,
                "n_audio_layer": 2,
                "llm_dim": 128,
                "adapter_state": 128,
            },
        ),
        flow=FlowConfig(input_size=64, encoder=encoder, dit=dit),
        hift=HiftConfig(base_channels=32, f0_channels=32),
        shard_bytes=5_000_000,  # several shards, so that their index is used
    )


def _thinker(
    vocabulary: Vocabulary, text: dict[str, int | str], audio: dict[str, int]
) -> StepAudio2Config:
    ids = {
        "vocab_size": vocabulary.size,
        "eos_token_id": vocabulary.eos_token_ids,
        "pad_token_id": vocabulary.ids["<|endoftext|>"],
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
    }
    return StepAudio2Config(text_config={**text, **ids}, audio_encoder_config=audio)
