import pytest
import torch
import torch.nn.functional as F

from deployments.mel import log_mel_spectrogram
from deployments.thinker.vllm_plugin.audio_encoder import Adapter, AudioEncoder
from deployments.thinker.vllm_plugin.hf_config import AudioEncoderConfig, StepAudio2Config
from deployments.thinker.vllm_plugin.lengths import (
    MEL_PADDING,
    MIN_PIECE_SAMPLES,
    PIECE_SAMPLES,
    mel_frames,
    num_embeddings,
    placeholder_tokens,
)

TINY = AudioEncoderConfig(
    n_mels=8, n_audio_state=16, n_audio_head=2, n_audio_layer=2, llm_dim=12, adapter_state=10
)


@pytest.fixture(scope="module")
def encode():
    torch.manual_seed(0)
    encoder, adapter = AudioEncoder(TINY).eval(), Adapter(TINY).eval()

    @torch.inference_mode()
    def encode(mels: list[torch.Tensor]) -> list[torch.Tensor]:
        frames = torch.tensor([mel.shape[1] for mel in mels])
        batch = torch.stack([F.pad(mel, (0, int(frames.max()) - mel.shape[1])) for mel in mels])
        embedded = adapter(encoder(batch, frames))
        return [row[: num_embeddings(int(n))] for row, n in zip(embedded, frames, strict=True)]

    return encode


def test_a_piece_alone_equals_the_piece_in_a_batch(encode):
    mels = [torch.randn(8, frames) for frames in (*range(5, 40), 300, 301, 302, 303)]
    together = encode(mels)
    for mel, batched in zip(mels, together, strict=True):
        torch.testing.assert_close(encode([mel])[0], batched, atol=1e-5, rtol=0)


def test_every_length_gives_the_number_of_embeddings_that_its_placeholders_promise(encode):
    lengths = [*range(MIN_PIECE_SAMPLES, 4000, 53), 16_000, 79_999, 399_999, PIECE_SAMPLES]
    for samples in lengths:
        mel = log_mel_spectrogram(torch.zeros(samples), n_mels=8, padding=MEL_PADDING)
        assert mel.shape[1] == mel_frames(samples)
        (embeddings,) = encode([mel])
        assert len(embeddings) + 2 == placeholder_tokens(samples)
        assert len(embeddings) > 0


def test_25_seconds_take_313_embeddings():
    assert placeholder_tokens(PIECE_SAMPLES) == 315


def test_the_published_layout_is_read_back_as_it_was_written():
    config = StepAudio2Config(
        text_config={
            "model_type": "step_audio_2_text",
            "hidden_size": 64,
            "num_attention_heads": 4,
            "num_attention_groups": 2,
            "num_hidden_layers": 1,
            "intermediate_size": 96,
            "vocab_size": 100,
            "max_seq_len": 512,
            "rope_theta": 1e6,
            "eos_token_id": [1, 2],
            "torch_dtype": "float32",
        },
        audio_encoder_config={"n_audio_state": 16, "llm_dim": 64},
    )
    assert config.text_config.model_type == "qwen2"
    assert config.text_config.num_key_value_heads == 2
    assert config.text_config.max_position_embeddings == 512
    assert config.audio_encoder_config.n_audio_layer == 32
    published = config.to_published_dict()
    assert published["text_config"]["rope_theta"] == 1e6
    assert StepAudio2Config(**published).to_published_dict() == published


def test_the_weights_carry_the_published_names():
    names = set(AudioEncoder(TINY).state_dict())
    assert {"conv1.weight", "positional_embedding.weight", "after_norm.bias"} <= names
    assert {"blocks.1.attn.query.bias", "blocks.1.attn.key.weight", "blocks.0.mlp.2.bias"} <= names
    assert "blocks.0.attn.key.bias" not in names
    assert set(Adapter(TINY).state_dict()) == {
        f"{layer}.{kind}" for layer in ("conv", "linear1", "linear2") for kind in ("weight", "bias")
    }
