"""What the Thinker reads of a checkpoint by itself; vLLM reads the weights."""

from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from deployments.errors import ConfigError
from deployments.model_checks import CONFIG, read_tokenizer
from deployments.weight_files import one_line, read_json

if TYPE_CHECKING:
    from deployments.thinker.vllm_plugin.hf_config import StepAudio2Config


def load_tokenizer(root: Path) -> Tokenizer:
    """The tokenizer, whichever files a checkpoint has of it.

    Raises:
        ConfigError: a file is missing or damaged.
    """
    from transformers import AutoTokenizer

    read_tokenizer(root)
    try:
        return AutoTokenizer.from_pretrained(root).backend_tokenizer
    except Exception as error:  # transformers and its parsers raise anything
        raise ConfigError(f"the tokenizer in {root} cannot be loaded: {one_line(error)}") from error


def load_config(root: Path, non_finite_token_id: int) -> "StepAudio2Config":
    """The configuration, and the id that stands for logits that are not finite.

    Raises:
        ConfigError: it is missing or damaged, or is that of another model.
    """
    from deployments.thinker.vllm_plugin.hf_config import StepAudio2Config

    published = read_json(root / CONFIG)
    if published.get("model_type") != StepAudio2Config.model_type:
        raise ConfigError(f"{root} is no {StepAudio2Config.model_type} checkpoint")
    try:
        return StepAudio2Config(**published, non_finite_token_id=non_finite_token_id)
    except Exception as error:  # transformers' own checks have no common base
        raise ConfigError(f"{root / CONFIG} cannot be used: {one_line(error)}") from error
