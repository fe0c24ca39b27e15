"""Random weights of the Thinker, which say random things in the right form.

A few channels of the residual stream are set by hand and hidden from the layers: each token's
embedding names there which kind of token comes next, and the output layer reads it. So a text
answer is syllables and then <|EOT|>; a spoken one is one text token, four audio tokens, one text
token, … and at last <tts_end><|EOT|>. Which syllable and which audio code is up to the random rest
of the network, and with it to everything in the prompt, sound included. It means nothing.
"""

import math
from enum import IntEnum, auto

import torch
from torch import Tensor, nn
from transformers import Qwen2ForCausalLM

from deployments.thinker.vllm_plugin.audio_encoder import Adapter, AudioEncoder
from deployments.thinker.vllm_plugin.hf_config import StepAudio2Config
from serve_app.checkpoint.random_values import Rule, random_tensor
from serve_app.checkpoint.vocabulary import AUDIO_CODES, Vocabulary


class Kind(IntEnum):
    """What kind of token comes next; also its channel of the residual stream."""

    TEXT = 0  # of a text answer
    SPOKEN_TEXT = auto()
    AUDIO_0 = auto()  # first of the four audio tokens behind a spoken text token
    AUDIO_1 = auto()
    AUDIO_2 = auto()
    AUDIO_3 = auto()
    TURN_END = auto()


_AUDIO_GROUP = 4
_SIGNAL = 6.0  # of a steering channel, where the other channels have a spread of 1
_FORBIDDEN_LOGIT = -40.0  # of every token that is not of the kind that comes next
_LOGIT_SPREAD = 1.0  # among those that are: diverse at temperature 0.7, never uniform

# Logits of the ends, against about 100 syllables of spread 1: they are drawn at temperature 0.7
# once in 30 to 40 text tokens, which makes a spoken answer 5 to 6 s long on average.
_TURN_END_LOGIT = 1.4
_TTS_END_LOGIT = 1.4


class ThinkerWeights:
    """Names, shapes and values of the Thinker's weights, one tensor at a time."""

    def __init__(
        self, config: StepAudio2Config, vocabulary: Vocabulary, seed: int, *, llm: bool = True
    ) -> None:
        self._vocabulary = vocabulary
        self._seed = seed
        self._depth = config.text_config.num_hidden_layers
        self.dtype: torch.dtype = config.text_config.dtype or torch.bfloat16
        parts: dict[str, nn.Module] = {}
        with torch.device("meta"):
            if llm:
                parts[""] = Qwen2ForCausalLM(config.text_config)
            parts["encoder."] = AudioEncoder(config.audio_encoder_config)
            parts["adapter."] = Adapter(config.audio_encoder_config)
        self.shapes: dict[str, torch.Size] = {
            prefix + name: value.shape
            for prefix, part in parts.items()
            for name, value in part.state_dict().items()
        }

    def value(self, name: str) -> Tensor:
        """The tensor of a published name, in the configuration's dtype."""
        values = random_tensor(
            name, self.shapes[name], seed=self._seed, rules=self._rules(), dtype=self.dtype
        )
        kinds = slice(0, len(Kind))
        if name == "model.embed_tokens.weight":
            values[:, kinds] = 0.0
            values[torch.arange(len(values)), self._kind_after()] = _SIGNAL
        elif name == "lm_head.weight":
            values[:, kinds] = self._logits_by_kind() / _SIGNAL
            values[self._ends()] *= self._steering_only(values.shape[1])
        elif name == "model.norm.weight":
            values[kinds] = 1.0
        elif name.endswith("layernorm.weight"):
            values[kinds] = 0.0  # no layer sees them
        elif name.endswith(("o_proj.weight", "down_proj.weight")):
            values[kinds] = 0.0  # no layer changes them
        return values

    def _rules(self) -> tuple[Rule, ...]:
        hidden = self.shapes["adapter.linear2.weight"][0]
        branch = 1.0 / math.sqrt(self._depth)  # all layers together change as much as they found
        return (
            Rule("embed_tokens", gain=math.sqrt(hidden)),
            Rule("lm_head", gain=_LOGIT_SPREAD),
            Rule("[qk]_proj.weight", gain=1.5),  # attention that looks at some tokens more
            Rule("o_proj", gain=1.5 * branch),
            Rule("down_proj", gain=2.0 * branch),  # SiLU and gate halve the spread twice
            Rule("positional_embedding", gain=2.0),
            Rule("adapter.*weight", gain=1.6),  # GELU and ReLU take the lower half away
        )

    def _kind_after(self) -> Tensor:
        """[vocabulary] the kind of token that follows each token."""
        after = torch.full((self._vocabulary.size,), int(Kind.TEXT))
        after[self._spoken_syllables()] = Kind.AUDIO_0
        codes = torch.arange(AUDIO_CODES)
        place = codes % _AUDIO_GROUP
        after_code = torch.where(
            place == _AUDIO_GROUP - 1, torch.tensor(int(Kind.SPOKEN_TEXT)), Kind.AUDIO_1 + place
        )
        after[self._vocabulary.ids["<audio_0>"] + codes] = after_code
        after[self._vocabulary.ids["<tts_start>"]] = Kind.SPOKEN_TEXT
        after[self._vocabulary.ids["<tts_end>"]] = Kind.TURN_END
        return after

    def _logits_by_kind(self) -> Tensor:
        """[vocabulary, kinds] each token's logit where that kind of token comes next."""
        ids = self._vocabulary.ids
        logits = torch.full((self._vocabulary.size, len(Kind)), _FORBIDDEN_LOGIT)
        logits[[i for i in self._vocabulary.syllables if i % 2 == 0], Kind.TEXT] = 0.0
        logits[self._spoken_syllables(), Kind.SPOKEN_TEXT] = 0.0
        codes = torch.arange(AUDIO_CODES)
        logits[ids["<audio_0>"] + codes, Kind.AUDIO_0 + codes % _AUDIO_GROUP] = 0.0
        logits[ids["<|EOT|>"], Kind.TEXT] = _TURN_END_LOGIT
        logits[ids["<|EOT|>"], Kind.TURN_END] = 0.0
        logits[ids["<tts_end>"], Kind.SPOKEN_TEXT] = _TTS_END_LOGIT
        return logits

    def _spoken_syllables(self) -> list[int]:
        return [index for index in self._vocabulary.syllables if index % 2 == 1]

    def _ends(self) -> list[int]:
        return [self._vocabulary.ids["<|EOT|>"], self._vocabulary.ids["<tts_end>"]]

    def _steering_only(self, width: int) -> Tensor:
        """[width] one in the steering channels: the logits of the ends are not random."""
        return (torch.arange(width) < len(Kind)).to(self.dtype)
