"""The checkpoint, put together from what was trained, in the published layout."""

import shutil
from pathlib import Path

import soundfile
import soxr

from tests.nano import speaker_encoder, speech_tokenizer_network
from tests.nano.corpus.espeak import HIGH, LOW, RATE_HZ, SPEAKERS, STANDARD_WPM, Espeak
from tests.nano.corpus.sentences import held_out_sentences
from tests.nano.sizes import SOUND_RATE_HZ

VOICES = {"low": LOW, "high": HIGH}
_PROMPT_WORDS = 10  # a prompt of two to three seconds


def main(out: Path, checkpoint: Path) -> None:
    """Write the model directory `checkpoint` out of the training folder `out`.

    The Thinker's files, the flow's and the vocoder's lie in `out` as they will be loaded; the two
    small encoders are exported to ONNX here. The two voices are eSpeak's, each saying a sentence
    that was never trained on.
    """
    token2wav = checkpoint / "token2wav"
    token2wav.mkdir(parents=True, exist_ok=True)
    for file in sorted((out / "thinker").iterdir()):
        shutil.copy(file, checkpoint / file.name)
    for name in ("flow.yaml", "flow.pt", "hift.pt"):
        shutil.copy(out / name, token2wav / name)
    tokenizer = token2wav / "speech_tokenizer_v2_25hz.onnx"
    speech_tokenizer_network.export(out / "speech_tokenizer.pt", tokenizer)
    speaker_encoder.export(out / "speaker_encoder.pt", token2wav / "campplus.onnx")
    write_voices(checkpoint / "voices")
    default = checkpoint / "assets" / "default_female.wav"  # where the published model has its own
    default.parent.mkdir(exist_ok=True)
    shutil.copy(checkpoint / "voices" / "high.wav", default)


def write_voices(folder: Path) -> None:
    """`low.wav` and `high.wav`, mono, 24 kHz, 16 bit, with what they say beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    long = [s for s in held_out_sentences() if len(s.split()) >= _PROMPT_WORDS]
    espeak = Espeak.of_this_process()
    for (name, index), sentence in zip(VOICES.items(), long, strict=False):
        speaker = SPEAKERS[index]
        samples = espeak.speak(sentence, speaker.voice, STANDARD_WPM, speaker.pitch)
        sound = soxr.resample(samples, RATE_HZ, SOUND_RATE_HZ)
        soundfile.write(folder / f"{name}.wav", sound, SOUND_RATE_HZ, subtype="PCM_16")
        (folder / f"{name}.txt").write_text(sentence + "\n", encoding="utf-8")
