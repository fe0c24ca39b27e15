"""Silero's graph takes the frames of one recording; here it takes those of several at once."""

from pathlib import Path

import numpy as np


def over_recordings(path: Path) -> bytes:
    """The model of a file, with an axis of recordings.

    The file's LSTM walks over F frames of one recording: `input` is [F, 576], `h` and `c` are
    [1, 1, 128]. In the model that is returned `input` is [F * B, 576], frame by frame the B
    recordings, `h` and `c` are [1, B, 128], and `speech_probs` is [B * F], recording by recording.
    All else runs over frames that know nothing of each other, as before.
    """
    import onnx  # here, so that a server which needs no voice activity never loads it

    model = onnx.load(path)
    graph = model.graph
    for value in (*graph.input, *graph.output):
        if value.name in ("h", "c"):
            value.type.tensor_type.shape.dim[1].dim_param = "recordings"
    at = next(i for i, node in enumerate(graph.node) if node.op_type == "LSTM")
    lstm = graph.node[at]
    split = [  # [F * B, 1, 128] -> [F, B, 128]
        onnx.helper.make_node("Shape", ["h"], ["recordings_width"], start=1, end=3),
        onnx.helper.make_node("Concat", ["frames", "recordings_width"], ["split"], axis=0),
        onnx.helper.make_node("Reshape", [lstm.input[0], "split"], ["by_recording"]),
    ]
    lstm.input[0] = "by_recording"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1]), "frames"))
    for offset, node in enumerate(split):
        graph.node.insert(at + offset, node)
    return model.SerializeToString()
