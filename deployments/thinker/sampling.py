"""How tokens are drawn where a request says nothing: the configuration, else the checkpoint."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.errors import ConfigError
from deployments.thinker.thinker_config import SamplingDefaults
from deployments.weight_files import one_line

GENERATION_CONFIG = "generation_config.json"


@dataclass(frozen=True, slots=True)
class Sampling:
    """Complete settings; the values here are the published ones, for a checkpoint without any."""

    temperature: float = 0.7  # 0 draws greedily
    top_p: float = 0.9
    repetition_penalty: float = 1.05
    max_tokens: int = 1024


def sampling_of(configured: SamplingDefaults, model: Path) -> Sampling:
    """The configuration's values; for those that it leaves out, the checkpoint's.

    Raises:
        ConfigError: the checkpoint's `generation_config.json` is damaged, or holds values that
            cannot be drawn by.
    """
    path = model / GENERATION_CONFIG
    chosen = configured.model_dump(exclude_none=True)
    try:
        published = _published(json.loads(path.read_text(encoding="utf-8")))
        checked = SamplingDefaults.model_validate(published).model_dump(exclude_none=True)
    except FileNotFoundError:
        checked = {}
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path} cannot be used: {one_line(error)}") from error
    return Sampling(**(checked | chosen))


def _published(generation: dict[str, Any]) -> dict[str, Any]:
    """transformers' names → ours."""
    names = {
        "temperature": "temperature",
        "top_p": "top_p",
        "repetition_penalty": "repetition_penalty",
        "max_new_tokens": "max_tokens",
    }
    found = {ours: generation[theirs] for theirs, ours in names.items() if theirs in generation}
    return found | ({"temperature": 0.0} if generation.get("do_sample") is False else {})
