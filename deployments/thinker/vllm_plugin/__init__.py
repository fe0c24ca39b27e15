"""Step-Audio 2 as a model that vLLM learns from outside.

vLLM calls `register` in every process through the entry point `vllm.general_plugins`; nothing
here imports vLLM before that.
"""


def register() -> None:
    """Make the configuration and the model known to this process. May be called again."""
    from transformers import AutoConfig
    from vllm import ModelRegistry

    from deployments.thinker.vllm_plugin.hf_config import ARCHITECTURE, StepAudio2Config

    if ARCHITECTURE in ModelRegistry.get_supported_archs():
        return
    AutoConfig.register(StepAudio2Config.model_type, StepAudio2Config, exist_ok=True)

    # The class itself, not its name: vLLM would start a process (10 to 17 s) to look at it.
    from deployments.thinker.vllm_plugin.model import StepAudio2ForCausalLM

    ModelRegistry.register_model(ARCHITECTURE, StepAudio2ForCausalLM)
