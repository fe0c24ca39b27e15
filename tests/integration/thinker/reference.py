"""The Thinker written down once more, from its definition: plain PyTorch and transformers' Qwen2.

No batching, no cache, no padding: one piece of audio at a time, the whole prompt for every token.
"""

import json
import math
from pathlib import Path

import librosa
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM


class ReferenceThinker:
    """Greedy answers of a checkpoint directory."""

    def __init__(self, directory: Path) -> None:
        published = json.loads((directory / "config.json").read_text())
        text = published["text_config"]
        self.audio = published["audio_encoder_config"]
        self.ends = set(text["eos_token_id"])
        self.weights: dict[str, Tensor] = {}
        for shard in sorted(directory.glob("*.safetensors")):
            self.weights |= load_file(shard)
        decoder = {
            name: value
            for name, value in self.weights.items()
            if name.startswith(("model.", "lm_head."))
        }
        config = Qwen2Config(
            vocab_size=text["vocab_size"],
            hidden_size=text["hidden_size"],
            intermediate_size=text["intermediate_size"],
            num_hidden_layers=text["num_hidden_layers"],
            num_attention_heads=text["num_attention_heads"],
            num_key_value_heads=text["num_attention_groups"],
            max_position_embeddings=text["max_position_embeddings"],
            rms_norm_eps=text["rms_norm_eps"],
            rope_parameters={"rope_type": "default", "rope_theta": text["rope_theta"]},
            tie_word_embeddings=False,
        )
        self.decoder = Qwen2ForCausalLM(config).eval()
        self.decoder.load_state_dict(decoder, strict=True)
        self.tokenizer = AutoTokenizer.from_pretrained(directory)

    @torch.inference_mode()
    def greedy(self, prompt: str, pieces: list[np.ndarray], count: int) -> list[int]:
        """Token ids that answer `prompt`, in which `<audio>` stands for each piece."""
        embed = self.decoder.get_input_embeddings()
        rows = []
        for index, text in enumerate(prompt.split("<audio>")):
            if index:
                start, end = self.ids("<audio_start>"), self.ids("<audio_end>")
                rows += [embed(start), self.hear(pieces[index - 1]), embed(end)]
            rows.append(embed(self.ids(text)))
        sequence = torch.cat(rows)
        answer: list[int] = []
        for _ in range(count):
            logits = self.decoder(inputs_embeds=sequence[None]).logits[0, -1]
            token = int(logits.argmax())
            if token in self.ends:
                break
            answer.append(token)
            sequence = torch.cat([sequence, embed(torch.tensor([token]))])
        return answer

    def ids(self, text: str) -> Tensor:
        return torch.tensor(self.tokenizer.encode(text, add_special_tokens=False), dtype=torch.long)

    def hear(self, samples: np.ndarray) -> Tensor:
        """[N] samples → [n, hidden] embeddings."""
        mel = log_mel(torch.as_tensor(samples, dtype=torch.float32), self.audio["n_mels"])
        x = self.encode(mel)
        x = F.gelu(F.conv1d(x.T[None], *self.both("adapter.conv"), stride=2, padding=1))[0].T
        length = mel.shape[1] - 2
        n = ((length + 1) // 2 // 2 + 2 - 3) // 2 + 1
        return self.linear("adapter.linear2", F.relu(self.linear("adapter.linear1", x)))[:n]

    def encode(self, mel: Tensor) -> Tensor:
        """[n_mels, T] → [T // 4, C]; keys past ⌈(T − 2) / 2⌉ are not looked at."""
        x = F.gelu(F.conv1d(mel[None], *self.both("encoder.conv1"), padding=1))
        x = F.gelu(F.conv1d(x, *self.both("encoder.conv2"), stride=2, padding=1))[0].T
        x = x + self.weights["encoder.positional_embedding.weight"][: len(x)]
        valid = math.ceil((mel.shape[1] - 2) / 2)
        for layer in range(self.audio["n_audio_layer"]):
            name = f"encoder.blocks.{layer}"
            x = x + self.attend(f"{name}.attn", self.norm(f"{name}.attn_ln", x), valid)
            hidden = F.gelu(self.linear(f"{name}.mlp.0", self.norm(f"{name}.mlp_ln", x)))
            x = x + self.linear(f"{name}.mlp.2", hidden)
        pairs = x[: len(x) // 2 * 2].unflatten(0, (-1, 2)).mean(1)
        return self.norm("encoder.after_norm", pairs)

    def attend(self, name: str, x: Tensor, valid: int) -> Tensor:
        heads = self.audio["n_audio_head"]
        query, value = self.linear(f"{name}.query", x), self.linear(f"{name}.value", x)[:valid]
        key = (x @ self.weights[f"{name}.key.weight"].T)[:valid]
        mixed = []
        for q, k, v in zip(
            query.chunk(heads, 1), key.chunk(heads, 1), value.chunk(heads, 1), strict=True
        ):
            mixed.append(torch.softmax(q @ k.T / math.sqrt(q.shape[1]), dim=-1) @ v)
        return self.linear(f"{name}.out", torch.cat(mixed, dim=1))

    def both(self, name: str) -> tuple[Tensor, Tensor]:
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, *self.both(name))

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], *self.both(name))


def log_mel(samples: Tensor, n_mels: int) -> Tensor:
    """[N] → [n_mels, T], after the published definition."""
    padded = F.pad(samples, (0, 479))
    spectrum = torch.stft(padded, 400, 160, window=torch.hann_window(400), return_complex=True)
    power = spectrum[:, :-1].abs() ** 2
    filters = torch.from_numpy(librosa.filters.mel(sr=16_000, n_fft=400, n_mels=n_mels))
    mel = (filters @ power).clamp(min=1e-10).log10()
    return (torch.maximum(mel, mel.max() - 8.0) + 4.0) / 4.0
