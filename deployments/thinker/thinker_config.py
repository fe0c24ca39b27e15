"""The Thinker's section of the configuration."""

from typing import Any, Literal

from pydantic import Field

from deployments.settings import Settings, StageSettings


class SamplingDefaults(Settings):
    """Sampling where a request says nothing.

    What is None comes from the checkpoint's `generation_config.json`, and what that leaves out
    from the published settings: temperature 0.7, top-p 0.9, repetition penalty 1.05, 1024 tokens.
    """

    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    repetition_penalty: float | None = Field(default=None, gt=0)

    max_tokens: int | None = Field(default=None, ge=1)
    """Of an answer in a chat; a text to speak has as many as it needs."""


class ThinkerConfig(StageSettings):
    """Settings of the Thinker stage."""

    engine: Literal["vllm", "fake"] = "vllm"
    """`fake` answers at once with made-up tokens: for tests and for writing clients."""

    engine_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Passed on to vLLM's engine arguments: `gpu_memory_utilization`, `tensor_parallel_size`…"""

    sampling: SamplingDefaults = SamplingDefaults()

    think: bool = False
    """For a Think checkpoint: let it think before it answers."""

    @property
    def reads_weights(self) -> bool:
        """Whether vLLM reads the checkpoint's safetensors, and does not make up their values."""
        return self.engine_kwargs.get("load_format", "auto") in ("auto", "hf", "safetensors")
