"""The Thinker's weights load by name, and its answers have the form of the real ones."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import Qwen2ForCausalLM

from deployments.thinker.vllm_plugin.audio_encoder import Adapter, AudioEncoder
from deployments.thinker.vllm_plugin.hf_config import StepAudio2Config
from serve_app.checkpoint.sizes import checkpoint
from serve_app.checkpoint.thinker_weights import ThinkerWeights
from tests.unit.serve_app.checkpoint.conftest import Made

SIZES = checkpoint("tiny")
IDS = SIZES.vocabulary.ids
AUDIO = range(IDS["<audio_0>"], IDS["<audio_6561>"])


def part(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


@pytest.fixture(scope="module")
def weights(tiny: Made) -> dict[str, Tensor]:
    shards = sorted(tiny.root.glob("*.safetensors"))
    return {name: value for path in shards for name, value in load_file(path).items()}


@pytest.fixture(scope="module")
def decoder(weights: dict[str, Tensor]) -> Qwen2ForCausalLM:
    model = Qwen2ForCausalLM(SIZES.thinker.text_config)
    own = {k: v for k, v in weights.items() if not k.startswith(("encoder.", "adapter."))}
    model.load_state_dict(own, strict=True)
    return model.eval()


def greedy(decoder: Qwen2ForCausalLM, last: str, *, tokens: int) -> list[int]:
    """Ids after a prompt that ends in the token `last`."""
    (ids,) = generate(decoder, last, 1, max_new_tokens=tokens, do_sample=False)
    return ids


def sampled(decoder: Qwen2ForCausalLM, last: str, count: int, *, tokens: int) -> list[list[int]]:
    """`count` answers, in one batch."""
    torch.manual_seed(0)
    sampling = {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 0}
    return generate(decoder, last, count, max_new_tokens=tokens, **sampling)


@torch.inference_mode()
def generate(decoder: Qwen2ForCausalLM, last: str, count: int, **how: Any) -> list[list[int]]:
    prompt = torch.tensor([[IDS["<|BOT|>"], 300, 301, IDS["<|EOT|>"], IDS[last]]] * count)
    rows = decoder.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        eos_token_id=SIZES.vocabulary.eos_token_ids,
        pad_token_id=IDS["<|endoftext|>"],
        **how,
    )
    return [unpadded(row) for row in rows[:, prompt.shape[1] :].tolist()]


def unpadded(ids: list[int]) -> list[int]:
    """`ids` up to the first one that ends an answer: the others of the batch go on."""
    ends = [place for place, token in enumerate(ids) if token in SIZES.vocabulary.eos_token_ids]
    return ids[: ends[0] + 1] if ends else ids


def test_encoder_and_adapter_load_strictly(weights: dict[str, Tensor]) -> None:
    config = SIZES.thinker.audio_encoder_config
    AudioEncoder(config).load_state_dict(part(weights, "encoder."), strict=True)
    Adapter(config).load_state_dict(part(weights, "adapter."), strict=True)


def test_config_file_is_read_back_as_it_was(tiny: Made) -> None:
    read = StepAudio2Config.from_pretrained(Path(tiny.root))
    assert read.to_published_dict() == SIZES.thinker.to_published_dict()


def test_spoken_answer_is_one_text_token_then_four_audio_tokens(decoder: Qwen2ForCausalLM) -> None:
    ids = greedy(decoder, "<tts_start>", tokens=50)
    assert len(ids) == 50
    assert [index in AUDIO for index in ids] == [False, True, True, True, True] * 10


def test_text_answer_has_no_audio_token(decoder: Qwen2ForCausalLM) -> None:
    ids = greedy(decoder, "<|im_start|>", tokens=50)
    assert ids and not any(index in AUDIO for index in ids)
    assert set(ids) <= {*SIZES.vocabulary.syllables, IDS["<|EOT|>"]}


def test_sampled_answer_is_diverse(decoder: Qwen2ForCausalLM) -> None:
    ids = list(chain(*sampled(decoder, "<tts_start>", 4, tokens=100)))
    codes = [index for index in ids if index in AUDIO]
    assert len(codes) > 40
    assert len(set(codes)) > 0.7 * len(codes)


def test_sampled_speech_ends_by_itself(decoder: Qwen2ForCausalLM) -> None:
    answers = sampled(decoder, "<tts_start>", 6, tokens=250)
    ended = [ids for ids in answers if ids[-1] == IDS["<|EOT|>"]]
    assert len(ended) >= 2
    assert all(ids[-2] == IDS["<tts_end>"] for ids in ended)


@torch.inference_mode()
def test_what_is_heard_changes_what_is_said(
    decoder: Qwen2ForCausalLM, weights: dict[str, Tensor]
) -> None:
    config = SIZES.thinker.audio_encoder_config
    encoder, adapter = AudioEncoder(config), Adapter(config)
    encoder.load_state_dict(part(weights, "encoder."))
    adapter.load_state_dict(part(weights, "adapter."))
    mels = torch.randn(2, config.n_mels, 200, generator=torch.Generator().manual_seed(0))
    heard = adapter(encoder(mels, torch.tensor([200, 200])))  # [2, 25, 128]
    last = decoder.model.embed_tokens(torch.tensor([[IDS["<tts_start>"]]] * 2))
    logits = decoder(inputs_embeds=torch.cat((heard, last), dim=1)).logits[:, -1]
    allowed = [index for index in SIZES.vocabulary.syllables if index % 2]
    assert (logits[0, allowed] - logits[1, allowed]).abs().mean() > 0.05


def test_full_has_the_published_numbers() -> None:
    config = checkpoint("full").thinker
    text, audio = config.text_config, config.audio_encoder_config
    assert (text.hidden_size, text.intermediate_size, text.num_hidden_layers) == (3584, 18944, 28)
    assert (text.num_attention_heads, text.num_key_value_heads, text.vocab_size) == (28, 4, 158720)
    assert (text.rms_norm_eps, text.rope_parameters["rope_theta"]) == (1e-6, 1e6)
    assert (text.max_position_embeddings, text.tie_word_embeddings) == (16384, False)
    assert text.dtype == torch.bfloat16
    assert text.eos_token_id == [151643, 151645, 151665]
    assert (audio.n_mels, audio.n_audio_ctx, audio.n_audio_state) == (128, 1500, 1280)
    assert (audio.n_audio_head, audio.n_audio_layer) == (20, 32)
    assert (audio.kernel_size, audio.adapter_stride) == (3, 2)
    assert (audio.adapter_state, audio.llm_dim) == (2048, 3584)


def test_full_has_the_published_names_and_shapes() -> None:
    full = checkpoint("full")
    shapes = ThinkerWeights(full.thinker, full.vocabulary, seed=0).shapes
    assert shapes["model.embed_tokens.weight"] == (158720, 3584)
    assert shapes["lm_head.weight"] == (158720, 3584)
    assert shapes["model.layers.27.self_attn.k_proj.weight"] == (512, 3584)
    assert shapes["model.layers.27.self_attn.q_proj.bias"] == (3584,)
    assert shapes["encoder.blocks.31.attn.query.weight"] == (1280, 1280)
    assert shapes["adapter.linear2.weight"] == (3584, 2048)
    decoder = sum(s.numel() for k, s in shapes.items() if k.startswith(("model.", "lm_head.")))
    qwen2_5_7b, its_vocabulary = 7_615_616_512, 152_064
    assert decoder == qwen2_5_7b + 2 * 3584 * (158_720 - its_vocabulary)
