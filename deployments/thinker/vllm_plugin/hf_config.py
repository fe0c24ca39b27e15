"""The Thinker's `config.json`: from the published layout and back.

The published text section is a Qwen2 decoder under its own name; transformers and vLLM get it
as a plain `Qwen2Config`.
"""

from typing import Any

from transformers import PretrainedConfig, Qwen2Config

ARCHITECTURE = "StepAudio2ForCausalLM"


class AudioEncoderConfig(PretrainedConfig):
    """Sizes of the audio encoder and of the adapter behind it; defaults are the published ones."""

    model_type = "step_audio_2_encoder"

    def __init__(
        self,
        n_mels: int = 128,
        n_audio_ctx: int = 1500,
        n_audio_state: int = 1280,
        n_audio_head: int = 20,
        n_audio_layer: int = 32,
        llm_dim: int = 3584,
        kernel_size: int = 3,
        adapter_stride: int = 2,
        adapter_state: int = 2048,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.n_mels = n_mels
        self.n_audio_ctx = n_audio_ctx
        self.n_audio_state = n_audio_state
        self.n_audio_head = n_audio_head
        self.n_audio_layer = n_audio_layer
        self.llm_dim = llm_dim
        self.kernel_size = kernel_size
        self.adapter_stride = adapter_stride
        self.adapter_state = adapter_state


class StepAudio2Config(PretrainedConfig):
    """The whole Thinker: a Qwen2 decoder and its audio encoder.

    Args:
        text_config: the decoder, as the published `text_config` section or as a `Qwen2Config`.
        audio_encoder_config: the published `audio_encoder_config` section.
        non_finite_token_id: what the model answers where its logits are not finite. It is no part
            of a checkpoint: the engine's owner chooses it. None leaves such logits unchanged.
    """

    model_type = "step_audio_2"

    def __init__(
        self,
        text_config: dict[str, Any] | Qwen2Config | None = None,
        audio_encoder_config: dict[str, Any] | AudioEncoderConfig | None = None,
        non_finite_token_id: int | None = None,
        **kwargs: Any,
    ) -> None:
        text = text_config if isinstance(text_config, Qwen2Config) else _qwen2(text_config or {})
        audio = audio_encoder_config
        if not isinstance(audio, AudioEncoderConfig):
            audio = AudioEncoderConfig(**_without(audio or {}, "model_type"))
        self.text_config = text
        self.audio_encoder_config = audio
        self.non_finite_token_id = non_finite_token_id
        kwargs.setdefault("architectures", [ARCHITECTURE])
        kwargs.setdefault("tie_word_embeddings", False)
        kwargs.setdefault("eos_token_id", text.eos_token_id)
        kwargs.setdefault("pad_token_id", text.pad_token_id)
        super().__init__(**kwargs)

    def get_text_config(self, *args: Any, **kwargs: Any) -> Qwen2Config:
        """The decoder's configuration, which is what vLLM sizes its cache by."""
        return self.text_config

    def to_published_dict(self) -> dict[str, Any]:
        """The `config.json` of the published layout, which `StepAudio2Config(**…)` reads back."""
        text, audio = self.text_config, self.audio_encoder_config
        dtype = str(text.dtype or "bfloat16").removeprefix("torch.")
        return {
            "architectures": [ARCHITECTURE],
            "model_type": self.model_type,
            "text_config": {
                "model_type": "step_audio_2_text",
                "vocab_size": text.vocab_size,
                "hidden_size": text.hidden_size,
                "intermediate_size": text.intermediate_size,
                "num_hidden_layers": text.num_hidden_layers,
                "num_attention_heads": text.num_attention_heads,
                "num_attention_groups": text.num_key_value_heads,
                "num_key_value_heads": text.num_key_value_heads,
                "max_seq_len": text.max_position_embeddings,
                "max_position_embeddings": text.max_position_embeddings,
                "rms_norm_eps": text.rms_norm_eps,
                "rope_theta": text.rope_parameters["rope_theta"],
                "rope_scaling": None,
                "tie_word_embeddings": text.tie_word_embeddings,
                "eos_token_id": text.eos_token_id,
                "pad_token_id": text.pad_token_id,
                "torch_dtype": dtype,
            },
            "audio_encoder_config": {
                "model_type": audio.model_type,
                "n_mels": audio.n_mels,
                "n_audio_ctx": audio.n_audio_ctx,
                "n_audio_state": audio.n_audio_state,
                "n_audio_head": audio.n_audio_head,
                "n_audio_layer": audio.n_audio_layer,
                "llm_dim": audio.llm_dim,
                "kernel_size": audio.kernel_size,
                "adapter_stride": audio.adapter_stride,
                "adapter_state": audio.adapter_state,
            },
            "eos_token_id": self.eos_token_id,
            "torch_dtype": dtype,
        }


def _qwen2(published: dict[str, Any]) -> Qwen2Config:
    """The published text section as a `Qwen2Config`."""
    text = _without(published, "model_type", "num_attention_groups", "max_seq_len", "architectures")
    for name, older_name in (
        ("num_key_value_heads", "num_attention_groups"),
        ("max_position_embeddings", "max_seq_len"),
    ):
        if text.get(name) is None and published.get(older_name) is not None:
            text[name] = published[older_name]
    text.setdefault("tie_word_embeddings", False)
    return Qwen2Config(architectures=["Qwen2ForCausalLM"], **text)


def _without(section: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in section.items() if name not in names}
