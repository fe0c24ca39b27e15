"""Silero's voice activity model (README.md), without torch."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

RATE_HZ = 16_000
FRAME_SAMPLES = 512  # 32 ms
CONTEXT_SAMPLES = 64  # of the frame before, which stand in front of each
STATE_SHAPE = (1, 1, 128)  # of the LSTM's hidden state, and of its cell
# One call on more frames is no faster for each of them: 0.09 ms of a core with 100 and with 1000.
MOST_FRAMES = 512
MODEL = Path(__file__).parent / "silero_vad_16k_sequence.onnx"


@dataclass(frozen=True, slots=True, eq=False)
class SileroState:
    """What the model remembers of one recording between two calls; that of a new one by default."""

    hidden: np.ndarray = field(default_factory=lambda: np.zeros(STATE_SHAPE, np.float32))
    cell: np.ndarray = field(default_factory=lambda: np.zeros(STATE_SHAPE, np.float32))
    context: np.ndarray = field(default_factory=lambda: np.zeros(CONTEXT_SAMPLES, np.float32))


class SileroModel:
    """The probability of speech, frame by frame. Calls of several threads may overlap."""

    def __init__(self, path: Path = MODEL) -> None:
        import onnxruntime  # here, so that a server which needs no voice activity never loads it

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def probabilities(
        self, samples: np.ndarray, state: SileroState
    ) -> tuple[np.ndarray, SileroState]:
        """Go on in one recording.

        Args:
            samples: [F * FRAME_SAMPLES] float32 at RATE_HZ.
            state: what the call before gave.

        Returns:
            [F] float32, and the state for the next call.
        """
        frames = samples.reshape(-1, FRAME_SAMPLES)
        found = [np.empty(0, np.float32)]
        for start in range(0, len(frames), MOST_FRAMES):
            probabilities, state = self._run(frames[start : start + MOST_FRAMES], state)
            found.append(probabilities)
        return np.concatenate(found), state

    def _run(self, frames: np.ndarray, state: SileroState) -> tuple[np.ndarray, SileroState]:
        """[F, FRAME_SAMPLES] -> [F]; F from 1 to MOST_FRAMES."""
        tails = frames[:, -CONTEXT_SAMPLES:]
        contexts = np.concatenate((state.context[None], tails[:-1]))
        values, hidden, cell = self._session.run(
            ["speech_probs", "hn", "cn"],
            {"input": np.hstack((contexts, frames)), "h": state.hidden, "c": state.cell},
        )
        return values.reshape(-1), SileroState(hidden, cell, tails[-1].copy())


@cache
def shared_model() -> SileroModel:
    """The one of this process, loaded by the first call, which takes a tenth of a second."""
    return SileroModel()
