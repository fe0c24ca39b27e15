"""Every number that nano is made of: the published architecture, only smaller."""

from deployments.token2wav.functional import DiTConfig, EncoderConfig, FlowConfig, HiftConfig

SPEECH_RATE_HZ = 16_000  # what the Thinker, the speech tokenizer and the speaker encoder hear
SOUND_RATE_HZ = 24_000  # what the flow and the vocoder are trained on
CODES_PER_S = 25

# The published tokenizer reads 8 ternary digits as a number below 6561. Nano uses 6 of them and
# leaves the highest two at 0: 729 codes, each of them heard often enough to be learned.
CODE_LEVELS = 3
ACTIVE_DIGITS = 6
USED_CODES = CODE_LEVELS**ACTIVE_DIGITS
SPEAKER_DIMS = 192

FLOW = FlowConfig(
    input_size=192,
    encoder=EncoderConfig(
        input_size=192,
        output_size=192,
        num_blocks=3,
        num_up_blocks=2,
        attention_heads=3,
        linear_units=384,
    ),
    dit=DiTConfig(mlp_ratio=2.0, depth=6, num_heads=3, head_dim=64, hidden_size=192),
)
HIFT = HiftConfig(base_channels=128, f0_channels=96)

THINKER_TEXT = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_attention_groups": 2,
    "max_position_embeddings": 4096,
}
THINKER_AUDIO = {
    "n_audio_state": 192,
    "n_audio_head": 3,
    "n_audio_layer": 4,
    "llm_dim": 256,
    "adapter_state": 256,
}
