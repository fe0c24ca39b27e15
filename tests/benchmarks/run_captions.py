"""How far captions are off: `python -m tests.benchmarks.run_captions`.

Texts are spoken by voices that say when their words begin (caption_times/voices.py). Each is sent
to `Captions` as the model makes it: a second of sound at a time, the text ahead of it by TA4. What
is printed and written: the errors of word starts, of all captions as they were sent; the same by
letters alone, spread over the whole sound; how many words of what was heard are wrong, asked every
half second with a second of sound made ahead; and the processor's time.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from deployments.messages import OUTPUT_SAMPLE_RATE_HZ
from serve_app.sound.captions import Caption, Captions
from serve_app.sound.captions.loudness import Loudness
from serve_app.sound.captions.pauses import PauseFinder
from tests.benchmarks.caption_times.voices import Clip, EspeakWords, festival

TEXTS = Path(__file__).parent / "caption_times" / "texts.txt"
ESPEAK = (("en-us", 165), ("en-us+f2", 140), ("en-us+m7", 190))
FESTIVAL = "cmu_us_slt_arctic_hts"
SECOND = 2 * OUTPUT_SAMPLE_RATE_HZ  # bytes
LETTERS_A_SECOND = 26  # of TA4: 6.25 tokens of about 4.2 characters
AHEAD_S = 1.0  # of the sound that was heard, what was made
CLOSE_S = 0.1


def texts(chosen_on: bool) -> list[str]:
    """Those that the costs were chosen on, or the others."""
    first, second = TEXTS.read_text().split("\n\n")
    return [line for line in (first if chosen_on else second).splitlines() if line[:1] != "#"]


def streamed(captions: Captions, clip: Clip, step: int) -> Iterator[list[Caption]]:
    """Captions as they come, for each `step` bytes of sound."""
    read = 0
    for start in range(0, len(clip.pcm), step):
        captions.hear(clip.pcm[start : start + step])
        last = start + step >= len(clip.pcm)
        upto = len(clip.text) if last else LETTERS_A_SECOND * (start + step) // SECOND
        yield captions.read(clip.text[read:upto])
        read = min(max(read, upto), len(clip.text))


def errors_s(clip: Clip) -> list[float]:
    """Of the captions as they were sent."""
    captions = Captions()
    shown = [caption for new in streamed(captions, clip, SECOND) for caption in new]
    errors, at = [], 0
    for caption in [*shown, *captions.finish()]:
        begins = at + len(caption.text) - len(caption.text.lstrip())
        if begins in clip.starts_s:
            errors.append(caption.start_s - clip.starts_s[begins])
        at += len(caption.text)
    return errors


def errors_by_letters_s(clip: Clip) -> list[float]:
    """Of a text that is spread evenly over the sound, from its first to its last."""
    finder = PauseFinder()
    begin_s = finder.hear(Loudness().hear(clip.pcm))[0].end_s
    length_s = finder.sound_end_s - begin_s
    return [
        begin_s + length_s * character / len(clip.text) - start_s
        for character, start_s in clip.starts_s.items()
    ]


def wrong_words(clip: Clip) -> list[int]:
    """How many words more or fewer were heard than `Captions.heard` says."""
    starts_s = np.array([*clip.starts_s.values()])
    ends_s = np.append(starts_s[1:], len(clip.pcm) / SECOND)
    middles_s = np.minimum((starts_s + ends_s) / 2, starts_s + 0.25)  # a pause is no part of a word
    captions, wrong = Captions(), []
    for number, _ in enumerate(streamed(captions, clip, SECOND // 2), 1):
        until_s = min(number / 2, len(clip.pcm) / SECOND) - AHEAD_S
        heard = captions.heard(until_s)
        words = sum(character < len(heard) for character in clip.starts_s)
        wrong.append(words - int(np.sum(middles_s <= until_s)))
    return wrong


def measured(clips: list[Clip]) -> dict[str, Any]:
    """The figures of one voice."""
    began = time.process_time()
    errors = np.array([error for clip in clips for error in errors_s(clip)])
    cost_s = time.process_time() - began
    off, wrong = np.abs(errors), np.abs([count for clip in clips for count in wrong_words(clip)])
    letters = np.abs([error for clip in clips for error in errors_by_letters_s(clip)])
    seconds = sum(len(clip.pcm) for clip in clips) / SECOND
    return {
        "seconds": round(seconds, 1),
        "words": len(errors),
        "mean_ms": round(1000 * off.mean()),
        "p50_ms": round(1000 * np.median(off)),
        "p90_ms": round(1000 * np.percentile(off, 90)),
        "max_ms": round(1000 * off.max()),
        "bias_ms": round(1000 * errors.mean()),
        "within_100_ms": round(float(np.mean(off < CLOSE_S)), 3),
        "by_letters_mean_ms": round(1000 * letters.mean()),
        "heard_within_1_word": round(float(np.mean(wrong <= 1)), 3),
        "heard_within_2_words": round(float(np.mean(wrong <= 2)), 3),
        "cpu_ms_per_s": round(1000 * cost_s / seconds, 2),
    }


def clips_of(chosen_on: bool) -> Iterator[tuple[str, list[Clip]]]:
    """Each voice, and what it said."""
    said = texts(chosen_on)
    espeak = EspeakWords()
    for voice, rate_wpm in ESPEAK:
        clips = [espeak.say(text, voice, rate_wpm) for text in said]
        yield f"eSpeak NG, {voice}, {rate_wpm} words a minute", clips
    yield f"Festival, {FESTIVAL}", festival(said, FESTIVAL)


def main(output: Annotated[Path | None, typer.Option(help="JSON to write.")] = None) -> None:
    report: dict[str, Any] = {}
    for chosen_on, name in ((True, "texts that the costs were chosen on"), (False, "other texts")):
        report[name] = {voice: measured(clips) for voice, clips in clips_of(chosen_on)}
        for voice, figures in report[name].items():
            print(name, voice, figures, sep="\n  ")
    if output:
        output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
