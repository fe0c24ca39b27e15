"""Silero's voice activity model (README.md), without torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from serve_app.sound.voice_activity.silero_graph import over_recordings

RATE_HZ = 16_000
FRAME_SAMPLES = 512  # 32 ms
CONTEXT_SAMPLES = 64  # of the frame before, which stand in front of each
STATE_SHAPE = (1, 1, 128)  # of the LSTM's hidden state, and of its cell
# One call on more frames is no faster for each of them: 0.03 ms of a core with 32 and with 500.
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
            over_recordings(path), options, providers=["CPUExecutionProvider"]
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
        found = [np.empty(0, np.float32)]
        for start in range(0, len(samples), MOST_FRAMES * FRAME_SAMPLES):
            piece = samples[start : start + MOST_FRAMES * FRAME_SAMPLES]
            probabilities, (state,) = self.step(piece[None], [state])
            found.append(probabilities[0])
        return np.concatenate(found), state

    def step(
        self, samples: np.ndarray, states: Sequence[SileroState]
    ) -> tuple[np.ndarray, list[SileroState]]:
        """Go on in B recordings by the same number of frames, F from 1 to MOST_FRAMES.

        Args:
            samples: [B, F * FRAME_SAMPLES] float32 at RATE_HZ.
            states: B of them.

        Returns:
            [B, F] float32, and the B states for the next call.
        """
        frames = samples.reshape(len(states), -1, FRAME_SAMPLES)
        tails = frames[:, :, -CONTEXT_SAMPLES:]
        contexts = np.stack([state.context for state in states])[:, None]  # [B, 1, C]
        contexts = np.concatenate((contexts, tails[:, :-1]), axis=1)  # [B, F, C]
        inputs = np.concatenate((contexts, frames), axis=2).swapaxes(0, 1)  # [F, B, C + FRAME]
        values, hidden, cell = self._session.run(
            ["speech_probs", "hn", "cn"],
            {
                "input": inputs,
                "h": np.concatenate([state.hidden for state in states], axis=1),
                "c": np.concatenate([state.cell for state in states], axis=1),
            },
        )
        after = [
            SileroState(hidden[:, i : i + 1], cell[:, i : i + 1], tails[i, -1].copy())
            for i in range(len(states))
        ]
        return values[..., 0].T, after


@cache
def shared_model() -> SileroModel:
    """The one of this process, loaded by the first call, which takes a tenth of a second."""
    return SileroModel()
