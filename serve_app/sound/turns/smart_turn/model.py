"""Smart Turn's model (README.md)."""

from pathlib import Path

import numpy as np

from serve_app.sound.turns.smart_turn.features import log_mel

MODEL = Path(__file__).parent / "smart-turn-v3.2-cpu.onnx"

EXACT_INTEGERS = ("session.x64quantprecision", "1")
"""Products of 8-bit integers that do not overflow 16 bits.

ONNX Runtime's kernels for x86 without VNNI saturate by default. That moved the probability by 0.07
on average, and by up to 0.84; exact products take an eighth more time. Nothing changes elsewhere.
"""


class SmartTurn:
    """Whether a turn sounds complete. Calls of several threads may overlap; each uses one core."""

    def __init__(self, path: Path = MODEL) -> None:
        import onnxruntime  # here, so that a server without semantic turns never loads it

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry(*EXACT_INTEGERS)
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, samples: np.ndarray) -> float:
        """The probability that the speaker is done.

        Args:
            samples: [N] float32 at 16 kHz: the turn so far, with its silence. The last 8 s count.
        """
        (values,) = self._session.run(None, {"input_features": log_mel(samples)[None]})
        return float(values[0, 0])
