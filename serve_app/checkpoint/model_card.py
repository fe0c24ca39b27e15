"""The `README.md` of a made checkpoint."""

from serve_app.checkpoint.sizes import Size

_CARD = """---
library_name: step-audio2-serve
---
# Random weights: noise, not speech

A checkpoint in the layout of Step-Audio-2-mini, written by

```bash
step-audio2 make-checkpoint --size {size} DIRECTORY
```

with seed {seed}. **Nothing here was trained.** What the Thinker writes are made-up syllables, what
Token2Wav says is noise; only their form is that of the real model's answers. It serves to test,
to demonstrate and to measure the server.

{thinker}

The two ONNX models have the published inputs and outputs and are small in every size.
"""

_WITH_LLM = "The Thinker's weights are complete: the decoder, the audio encoder and its adapter."
_WITHOUT_LLM = """The weights of the Thinker's decoder were left out: the safetensors hold the
audio encoder and its adapter alone. Start vLLM with `load_format: dummy`, which makes up all of
the Thinker's weights in memory."""


def model_card(size: Size, seed: int, *, llm_weights: bool) -> str:
    """What the directory holds, and that it is noise."""
    thinker = _WITH_LLM if llm_weights else _WITHOUT_LLM
    return _CARD.format(size=size, seed=seed, thinker=thinker)
