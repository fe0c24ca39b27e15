"""Stage 0: audio and text in, text and audio tokens out (vLLM)."""
