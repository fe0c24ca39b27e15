"""Step-Audio 2 for vLLM: our audio encoder and adapter before vLLM's own Qwen2."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from vllm.config import VllmConfig
from vllm.model_executor.models.interfaces import SupportsMultiModal, SupportsPP
from vllm.model_executor.models.utils import (
    AutoWeightsLoader,
    WeightsMapper,
    init_vllm_registered_model,
    maybe_prefix,
)
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.sequence import IntermediateTensors

from deployments.thinker.tokens import AUDIO_PATCH
from deployments.thinker.vllm_plugin.audio_encoder import Adapter, AudioEncoder
from deployments.thinker.vllm_plugin.finite import mark_non_finite
from deployments.thinker.vllm_plugin.lengths import num_embeddings
from deployments.thinker.vllm_plugin.processor import (
    StepAudio2DummyInputs,
    StepAudio2ProcessingInfo,
    StepAudio2Processor,
)


@MULTIMODAL_REGISTRY.register_processor(
    StepAudio2Processor, info=StepAudio2ProcessingInfo, dummy_inputs=StepAudio2DummyInputs
)
class StepAudio2ForCausalLM(nn.Module, SupportsMultiModal, SupportsPP):
    """The Thinker. Weights load by their published names."""

    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_prefix={
            "model.": "language_model.model.",
            "lm_head.": "language_model.lm_head.",
        }
    )

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        return AUDIO_PATCH if modality.startswith("audio") else None

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        self._non_finite_token_id = config.non_finite_token_id
        with self._mark_tower_model(vllm_config, "audio"):
            self.encoder = AudioEncoder(config.audio_encoder_config)
            self.adapter = Adapter(config.audio_encoder_config)
        with self._mark_language_model(vllm_config):
            self.language_model = init_vllm_registered_model(
                vllm_config=vllm_config,
                hf_config=config.text_config,
                architectures=["Qwen2ForCausalLM"],
                prefix=maybe_prefix(prefix, "language_model"),
            )
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors

    def embed_multimodal(
        self, *, mels: Tensor | list[Tensor] | None = None, **kwargs: object
    ) -> tuple[Tensor, ...]:
        """Embed a batch of pieces, log-mels of [n_mels, T] each → [n, hidden] each."""
        if mels is None:
            return ()
        weight = self.encoder.conv1.weight
        frames = [mel.shape[-1] for mel in mels]
        batch = pad_sequence([mel.T for mel in mels], batch_first=True).transpose(1, 2)
        lengths = torch.tensor(frames, device=weight.device)
        states = self.encoder(batch.to(device=weight.device, dtype=weight.dtype), lengths)
        embeddings = self.adapter(states)
        return tuple(
            piece[: num_embeddings(length)]
            for piece, length in zip(embeddings, frames, strict=True)
        )

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor | IntermediateTensors:
        """The decoder's hidden states, [tokens, hidden]."""
        if intermediate_tensors is not None:
            inputs_embeds = None
        return self.language_model.model(
            input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds
        )

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """[rows, hidden] → [rows, vocabulary]; rows that are not finite are marked."""
        logits = self.language_model.compute_logits(hidden_states)
        if logits is None or self._non_finite_token_id is None:  # None on all ranks but the first
            return logits
        return mark_non_finite(logits, self._non_finite_token_id)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        return AutoWeightsLoader(self).load_weights(weights, mapper=self.hf_to_vllm_mapper)
