"""Stage 1: audio tokens in, 24 kHz speech out (flow matching and a vocoder)."""
