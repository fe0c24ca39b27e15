"""Speak `sentences.txt` with natural voices: `python -m tests.benchmarks.turns.speak --help`.

The voices are Kokoro-82M's (Apache-2.0), the phonemes hibari's (`pip install hibari-tts`). How long
each phoneme lasts is read inside of Kokoro, so the mark of a sentence is found in its sound to
25 ms. The folder that it makes is what `run_turns.py --speech` takes.
"""

from itertools import cycle
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import onnxruntime
import soundfile
import typer

SENTENCES = Path(__file__).parent / "sentences.txt"
RATE_HZ = 24_000
DURATIONS = "/encoder/Clip_output_0"  # of each token, in frames
FRAME_S = 0.025


class Kokoro:
    """The model of a file, with its durations for a second output."""

    def __init__(self, path: Path) -> None:
        import json

        import hibari
        from hibari.g2p import G2P

        model = onnx.load(path)
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(DURATIONS))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        assets = Path(hibari.__file__).parent / "assets"
        self._ids = json.loads((assets / "vocab.json").read_text(encoding="utf-8"))
        self._phonemes = G2P()

    def speak(self, text: str, styles: np.ndarray, speed: float) -> tuple[np.ndarray, float | None]:
        """Say a text in a voice.

        Args:
            text: a sentence, with a mark (`|`) where a pause may be.
            styles: [n, 1, 256], the voice.

        Returns:
            [N] float32 at 24 kHz, and the second of the mark.
        """
        before, mark, after = text.partition("|")
        phonemes = self._phonemes(before.strip() + " " + after.strip())
        words = len(self._phonemes(before.strip()).split())
        at, spaces = None, 0
        tokens = []
        for phoneme in phonemes:
            if phoneme == " ":
                spaces += 1
                at = len(tokens) if mark and spaces == words else at
            if phoneme in self._ids:
                tokens.append(self._ids[phoneme])
        sound, durations = self._session.run(
            ["audio", DURATIONS],
            {
                "tokens": np.array([[0, *tokens, 0]]),
                "style": styles[len(tokens)],
                "speed": np.array([speed], np.float32),
            },
        )
        frames = durations.reshape(-1)
        # The space's own frames are silence or the last sound of the word before it.
        cut_s = None if at is None else float(frames[: at + 1].sum() + frames[at + 1] / 2) * FRAME_S
        return sound.reshape(-1), cut_s


def main(
    model: Annotated[Path, typer.Option(help="Kokoro's ONNX file.")],
    voices: Annotated[Path, typer.Option(help="The folder of its voices, *.bin.")],
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    count: Annotated[int | None, typer.Option(help="Sentences; all by default.")] = None,
) -> None:
    """Make a folder of spoken sentences: a WAV file each, `sentences.txt` and `cuts.txt`."""
    out.mkdir(parents=True, exist_ok=True)
    kokoro = Kokoro(model)
    names = cycle(sorted(voices.glob("[ab][fm]_*.bin")))  # American and British English
    lines = SENTENCES.read_text(encoding="utf-8").splitlines()[:count]
    cuts = []
    for number, (line, voice) in enumerate(zip(lines, names, strict=False)):
        styles = np.fromfile(voice, np.float32).reshape(-1, 1, 256)
        sound, cut_s = kokoro.speak(line, styles, 0.9 + number % 5 / 20)
        soundfile.write(out / f"{number:03}.wav", sound, RATE_HZ)
        cuts.append("" if cut_s is None else f"{cut_s:.3f}")
    (out / "sentences.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (out / "cuts.txt").write_text("\n".join(cuts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
