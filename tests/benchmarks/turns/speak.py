"""Speak sentences with natural voices: `python -m tests.benchmarks.turns.speak --help`.

Two teachers tell inside of their graphs how long each phoneme lasts, so the mark of a sentence is
found in its sound to 25 ms. Phonemes are hibari's (PyPI `hibari-tts`, Apache-2.0), and so is one
voice, at three pitches. Kokoro-82M (Apache-2.0) has 28 English ones and takes fifty times as long.
A sentence is spoken in one go, with a comma, dots or nothing at its mark. The folder that it makes
is what `run_turns.py --speech` takes.
"""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import hibari
import numpy as np
import onnx
import onnxruntime
import soundfile
import soxr
import typer
from hibari.g2p import G2P

FOLDER = Path(__file__).parent
ASSETS = Path(hibari.__file__).parent / "assets"
RATE_HZ = 24_000
PITCHES = (1.0, 0.88, 1.12)  # of hibari's voice
SPEEDS = (0.9, 0.95, 1.0, 1.05, 1.1)


class AtMark(StrEnum):
    """How the words before the mark are spoken. A comma of the sentence's own stays."""

    COMMA = "comma"  # the voice stays up, and the last word is longer
    DOTS = "dots"  # the voice trails off
    NOTHING = "nothing"  # the sentence is read through


PUNCTUATION = {AtMark.COMMA: ",", AtMark.DOTS: "…", AtMark.NOTHING: ""}


class Phonemes:
    """Text -> ids, and which of them is the space at the mark."""

    def __init__(self) -> None:
        self._ids = json.loads((ASSETS / "vocab.json").read_text(encoding="utf-8"))
        self._phonemes = G2P()

    def of(self, text: str, at_mark: AtMark) -> tuple[list[int], int]:
        """With a zero at either end; the text has a mark (`|` or `||`) between two words."""
        before, _, after = (part.strip(" |") for part in text.partition("|"))
        words = self._phonemes(f"{before} {after}").split(" ")
        first = len(self._phonemes(before).split(" "))
        known = [[self._ids[each] for each in word if each in self._ids] for word in words]
        space = self._ids[" "]
        ids = [0]
        for number, word in enumerate(known):
            if number == first:
                own = before.endswith((",", ":"))
                ids += [self._ids[sign] for sign in PUNCTUATION[at_mark] if not own]
                at = len(ids)
            ids += [space, *word] if number else word
        return [*ids, 0], at


class Kokoro:
    """Speaks recording n in voice n of a folder of them, `*.bin`."""

    DURATIONS = "/encoder/Clip_output_0"

    def __init__(self, model: Path, voices: Path, names: list[str]) -> None:
        self._session = _session(model, self.DURATIONS)
        english = sorted(voices.glob("[ab][fm]_*.bin"))  # American and British
        self._voices = [path for path in english if not names or path.stem in names]

    def speak(self, ids: list[int], number: int) -> tuple[np.ndarray, np.ndarray]:
        """[N] float32 at 24 kHz, and the duration of each id, in any unit."""
        styles = np.fromfile(self._voices[number % len(self._voices)], np.float32)
        speed = np.array([SPEEDS[number % len(SPEEDS)]], np.float32)
        feed = {"style": styles.reshape(-1, 1, 256)[len(ids) - 2], "speed": speed}
        sound, durations = self._session.run(
            ["audio", self.DURATIONS], {"tokens": np.array([ids]), **feed}
        )
        return sound.reshape(-1), durations.reshape(-1)


class Hibari:
    """Speaks in the voice of the package, at pitches in turn."""

    DURATIONS = "/Clip_output_0"
    PARTS = ("lh", "theta", "ln", "lr", "phi", "f0")

    def __init__(self) -> None:
        self._session = _session(ASSETS / "hibari.onnx", self.DURATIONS)

    def speak(self, ids: list[int], number: int) -> tuple[np.ndarray, np.ndarray]:
        """[N] float32 at 24 kHz, and the duration of each id, in any unit."""
        pitch = PITCHES[number % len(PITCHES)]
        speed = np.array([SPEEDS[number % len(SPEEDS)] / pitch], np.float32)
        *parts, durations = self._session.run(
            [*self.PARTS, self.DURATIONS], {"ids": np.array([ids]), "speed": speed}
        )
        sound = hibari.tts.dsp.synth(*(each[0] for each in parts), np.random.default_rng(number))
        return soxr.resample(sound, RATE_HZ * pitch, RATE_HZ), durations.reshape(-1)


def _session(path: Path, extra: str) -> onnxruntime.InferenceSession:
    """The model of a file, with a value inside of it for another output."""
    model = onnx.load(path)
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(extra))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def main(
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    sentences: Annotated[Path, typer.Option(help="A sentence a line.")] = FOLDER / "sentences.txt",
    at_mark: Annotated[AtMark, typer.Option(help="What is spoken there.")] = AtMark.COMMA,
    kokoro: Annotated[
        Path | None, typer.Option(help="Kokoro's ONNX file; hibari's voice without.")
    ] = None,
    voices: Annotated[Path, typer.Option(help="The folder of Kokoro's voices.")] = Path("voices"),
    voice: Annotated[list[str] | None, typer.Option(help="Some of them; all by default.")] = None,
    count: Annotated[int | None, typer.Option(help="Sentences; all by default.")] = None,
    rounds: Annotated[int, typer.Option(help="How often each is spoken, by other voices.")] = 1,
) -> None:
    """Make a folder of spoken sentences: a WAV file each, `sentences.txt` and `cuts.txt`."""
    out.mkdir(parents=True, exist_ok=True)
    phonemes = Phonemes()
    speaker = Kokoro(kokoro, voices, voice or []) if kokoro else Hibari()
    lines = sentences.read_text(encoding="utf-8").splitlines()[:count]
    (out / "sentences.txt").write_text("\n".join(lines * rounds) + "\n", encoding="utf-8")
    with (out / "cuts.txt").open("w", encoding="utf-8") as cuts:
        for number in range(rounds * len(lines)):
            turn, line = divmod(number, len(lines))
            ids, at = phonemes.of(lines[line], at_mark)
            sound, durations = speaker.speak(ids, number + turn)
            soundfile.write(out / f"{number:03}.wav", sound, RATE_HZ)
            # In a space there is silence, or the last sound of the word before it.
            cut = (durations[:at].sum() + durations[at] / 2) / durations.sum()
            print(f"{cut * len(sound) / RATE_HZ:.3f}", file=cuts, flush=True)


if __name__ == "__main__":
    typer.run(main)
