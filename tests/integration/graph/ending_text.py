"""Random weights never end a text by themselves; this logits processor lets them after a while.

`serve_app.bench.forced_speech` does the same to what they say aloud.
"""

from typing import Any

import torch
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from serve_app.bench.forced_speech import read_tokenizer

TEXT_TOKENS = 90


class EndingText(AdapterLogitsProcessor):
    """Ends every written answer after `TEXT_TOKENS` tokens, unless it ended before."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        super().__init__(vllm_config, device, is_pin_memory)
        self._special, _ = read_tokenizer(vllm_config.model_config)

    def is_argmax_invariant(self) -> bool:
        return False

    def new_req_logits_processor(self, params: Any) -> Any:
        return self._end

    def _end(
        self, prompt_ids: list[int], made_ids: list[int], logits: torch.Tensor
    ) -> torch.Tensor:
        """`logits` ([vocabulary]) as they are, or of the end alone."""
        if prompt_ids[-1] == self._special.tts_start or len(made_ids) < TEXT_TOKENS:
            return logits
        only_end = torch.full_like(logits, float("-inf"))
        only_end[self._special.turn_end] = 0.0
        return only_end
