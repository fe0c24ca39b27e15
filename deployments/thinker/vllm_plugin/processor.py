"""How vLLM turns a request's audio into features and placeholders.

A prompt holds one `<audio_patch>` id per piece of at most 25 s; vLLM replaces each by
`<audio_start>` + `<audio_patch>` × n + `<audio_end>`, n being the piece's number of embeddings.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from transformers import BatchFeature
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.parse import MultiModalDataItems, MultiModalDataParser
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
    PromptUpdate,
    PromptUpdateDetails,
)

from deployments.errors import AudioUnreadable
from deployments.mel import log_mel_spectrogram
from deployments.thinker.tokens import AUDIO_PATCH, SpecialTokens
from deployments.thinker.vllm_plugin.compat import feature_hook
from deployments.thinker.vllm_plugin.lengths import (
    MEL_PADDING,
    PIECE_SAMPLES,
    SAMPLE_RATE_HZ,
    mel_frames,
    num_embeddings,
    placeholder_tokens,
)


class StepAudio2ProcessingInfo(BaseProcessingInfo):
    """Limits of a prompt's audio."""

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return {"audio": None}

    def get_data_parser(self) -> MultiModalDataParser:
        return MultiModalDataParser(target_sr=SAMPLE_RATE_HZ, target_channels=1)

    def get_mm_max_tokens_per_item(
        self, seq_len: int, mm_counts: Mapping[str, int]
    ) -> Mapping[str, int]:
        return {"audio": placeholder_tokens(PIECE_SAMPLES)}


class StepAudio2DummyInputs(BaseDummyInputsBuilder[StepAudio2ProcessingInfo]):
    """The largest input, by which vLLM sizes its memory."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        return AUDIO_PATCH * mm_counts.get("audio", 0)

    def get_dummy_mm_data(
        self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Mapping[str, Any]
    ) -> dict[str, Any]:
        count = mm_counts.get("audio", 0)
        return {"audio": self._get_dummy_audios(length=PIECE_SAMPLES, num_audios=count)}


class StepAudio2Processor(
    feature_hook(BaseMultiModalProcessor),  # type: ignore[misc]  # chosen at import
    BaseMultiModalProcessor[StepAudio2ProcessingInfo],
):
    """Samples → log-mels, and the prompt's placeholders."""

    @cached_property
    def special_tokens(self) -> SpecialTokens:
        return SpecialTokens.from_tokenizer(self.info.get_tokenizer())

    def audio_features(self, mm_items: MultiModalDataItems) -> BatchFeature:
        """The log-mels of every piece, [n_mels, T] each.

        Raises:
            ValueError: a piece is longer than 25 s; the encoder's positions would run out and
                take the engine with them.
            AudioUnreadable: a piece is so loud that its spectrum is not finite; what the encoder
                made of it would stay in the KV cache.
        """
        if not (audio := mm_items.get("audio")):
            return BatchFeature()
        n_mels = self.info.get_hf_config().audio_encoder_config.n_mels
        mels = []
        for index in range(len(audio)):
            samples = torch.as_tensor(audio.get(index), dtype=torch.float32)
            if len(samples) > PIECE_SAMPLES:
                raise ValueError(f"a piece of audio has {len(samples)} samples, over 25 s")
            mel = log_mel_spectrogram(samples, n_mels=n_mels, padding=MEL_PADDING)
            if not torch.isfinite(mel).all():
                raise AudioUnreadable("its spectrum is not finite")
            mels.append(mel)
        return BatchFeature({"mels": mels})

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        return {"mels": MultiModalFieldConfig.batched("audio")}

    def _get_prompt_updates(
        self,
        mm_items: MultiModalDataItems,
        hf_processor_mm_kwargs: Mapping[str, object],
        out_mm_kwargs: Any,
    ) -> Sequence[PromptUpdate]:
        special = self.special_tokens

        def bracketed_patches(index: int) -> PromptUpdateDetails:
            samples = mm_items["audio"].get_audio_length(index)
            patches = [special.audio_patch] * num_embeddings(mel_frames(samples))
            return PromptUpdateDetails.select_token_id(
                [special.audio_start, *patches, special.audio_end], special.audio_patch
            )

        return [
            PromptReplacement(
                modality="audio", target=[special.audio_patch], replacement=bracketed_patches
            )
        ]
