"""Nano's ears: the Thinker's encoder, adapter and decoder, learning to write down what is said.

The names of the weights are the Thinker's, so that its training goes on from here.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Qwen2ForCausalLM

from deployments.thinker.vllm_plugin.audio_encoder import Adapter, AudioEncoder
from deployments.thinker.vllm_plugin.hf_config import StepAudio2Config
from serve_app.checkpoint.vocabulary import Vocabulary
from tests.nano.ears.lessons import Lesson
from tests.nano.thinker_model import config_of, sinusoids

PHONEMES: Final = 178  # ids of Kokoro's alphabet; 0 is no phoneme and serves as CTC's blank
TEXT: Final = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_attention_groups": 2,
    "max_position_embeddings": 4096,
}
AUDIO: Final = {
    "n_audio_state": 256,
    "n_audio_head": 4,
    "n_audio_layer": 6,
    "llm_dim": 256,
    "adapter_state": 512,
}
_PHONEME_WEIGHT, _WORD_WEIGHT = 0.5, 0.3
_MISREAD_SHARE = 0.15  # of the words that the model reads back: it must trust its ears


def listener_config(vocabulary: Vocabulary) -> StepAudio2Config:
    """Sizes and ids."""
    return config_of(TEXT, AUDIO, vocabulary)


class Listener(nn.Module):
    """What is served of the Thinker, and two heads that help to hear and go."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        config = listener_config(vocabulary)
        audio = config.audio_encoder_config
        self.texts = len(vocabulary.text)
        self.encoder = AudioEncoder(audio)
        self.adapter = Adapter(audio)
        self.language = Qwen2ForCausalLM(config.text_config).float()
        # CTC: the encoder's states spell phonemes, the embeddings words, whose blank is the last.
        self.help = nn.ModuleDict(
            {
                "phonemes": nn.Linear(audio.n_audio_state, PHONEMES),
                "words": nn.Linear(audio.llm_dim, self.texts + 1),
            }
        )
        with torch.no_grad():
            self.encoder.positional_embedding.weight.copy_(sinusoids(audio))

    def hear(self, mels: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 128, T], [B] → states [B, T // 4, C] and embeddings [B, n, llm]."""
        states = self.encoder(mels, frames)
        return states, self.adapter(states)

    def losses(self, lesson: Lesson, mels: Tensor, frames: Tensor) -> dict[str, Tensor]:
        """Of what the lesson's answers should be."""
        where = mels.device
        with torch.autocast(where.type, torch.bfloat16, enabled=where.type == "cuda"):
            states, speech = self.hear(mels, frames)
            embedded = self.embed(self._misread(lesson), speech, lesson)
            hidden = self.language.model(
                inputs_embeds=embedded, attention_mask={"full_attention": None}, use_cache=False
            ).last_hidden_state
            chosen = hidden.flatten(0, 1)[lesson.at]
            logits = self.language.lm_head(chosen).float()
            sounds = self.help["phonemes"](states).float().log_softmax(-1)
            words = self.help["words"](speech).float().log_softmax(-1)
        written = F.cross_entropy(logits, lesson.targets)
        phonemes = _ctc(sounds, lesson.state_counts, lesson.phonemes, lesson.phoneme_counts, 0)
        spelled = _ctc(words, lesson.embeddings, lesson.words, lesson.word_counts, self.texts)
        right = (logits.argmax(-1) == lesson.targets).float().mean()
        return {
            "loss": written + _PHONEME_WEIGHT * phonemes + _WORD_WEIGHT * spelled,
            "written": written,
            "phonemes": phonemes,
            "words": spelled,
            "right": right,
        }

    def embed(self, token_ids: Tensor, speech: Tensor, lesson: Lesson) -> Tensor:
        """The decoder's inputs: [B, L, C] of ids [B, L], with speech [B, n, C] in its place."""
        embedded = self.language.model.embed_tokens(token_ids)
        nth = torch.arange(token_ids.shape[1], device=token_ids.device) - lesson.patch
        inside = (nth >= 0) & (nth < lesson.embeddings_on[:, None])
        picked = nth.clamp(0, speech.shape[1] - 1)[None, :, None].expand(*embedded.shape)
        return torch.where(inside[..., None], speech.to(embedded.dtype).gather(1, picked), embedded)

    def _misread(self, lesson: Lesson) -> Tensor:
        ids = lesson.token_ids
        others = torch.randint_like(ids, self.texts)
        changed = lesson.answered & (torch.rand(ids.shape, device=ids.device) < _MISREAD_SHARE)
        return torch.where(changed, others, ids)


def _ctc(scores: Tensor, lengths: Tensor, wanted: Tensor, counts: Tensor, blank: int) -> Tensor:
    return F.ctc_loss(
        scores.transpose(0, 1), wanted, lengths, counts, blank=blank, zero_infinity=True
    )
