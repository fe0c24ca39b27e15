"""How much of the model's context a piece of audio takes. Pure arithmetic."""

SAMPLE_RATE_HZ = 16_000
PIECE_SAMPLES = 25 * SAMPLE_RATE_HZ
"""The longest piece that is encoded at once; the encoder's positions end at 29.98 s."""

MIN_PIECE_SAMPLES = 400
"""The shortest piece that gives an embedding: one window of the spectrogram."""

MEL_HOP = 160
MEL_PADDING = 479
"""Silence behind a piece, in samples: its last two mel frames come from it."""

BRACKETS = 2  # <audio_start> and <audio_end> around a piece's embeddings


def mel_frames(samples: int) -> int:
    """Mel frames T of a piece of `samples` at 16 kHz."""
    return (samples + MEL_PADDING) // MEL_HOP


def num_embeddings(frames: int) -> int:
    """Embeddings that a piece of `frames` mel frames gives: ((T−2+1)//2//2 + 2 − 3)//2 + 1."""
    pooled = (frames - 2 + 1) // 2 // 2
    return (pooled + 2 - 3) // 2 + 1


def placeholder_tokens(samples: int) -> int:
    """Tokens that a piece of `samples` takes in a prompt, its brackets included."""
    return num_embeddings(mel_frames(samples)) + BRACKETS
