"""Errors of the ears on sentences that are held out, by voices that are held out.

Of words, as the decoder writes them; and, of speech as it is, of the phonemes that the encoder
hears and of the words that the adapter's embeddings spell, without any decoder.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from deployments.thinker.vllm_plugin.lengths import MEL_PADDING
from serve_app.commands.word_error_rate import edit_distance, word_error_rate
from tests.nano.ears.lessons import Recordings
from tests.nano.ears.listener import Listener
from tests.nano.ears.rooms import banded, mu_law, noisy
from tests.nano.log_mels import log_mels
from tests.nano.sizes import SPEECH_RATE_HZ
from tests.nano.thinker_answers import Sampling, generated

_BATCH = 64
_MAX_TOKENS = 64
_OPUS_LEVEL: Final = 0.95  # of libsndfile: about 18 kbit/s
_QUICK: Final = 40  # recordings of each voice

Condition = Callable[[Tensor, Tensor], Tensor]  # samples [B, N], lengths [B] → [B, N]


def _telephone(samples: Tensor, lengths: Tensor) -> Tensor:
    edge = torch.ones(len(samples), 1, device=samples.device)
    return mu_law(banded(samples, 300 * edge, 3400 * edge).clamp(-1, 1))


def _opus(samples: Tensor, lengths: Tensor) -> Tensor:
    coded = torch.zeros_like(samples, device="cpu")
    for row, length in enumerate(lengths.tolist()):
        heard = torch.from_numpy(opus(samples[row, :length].cpu().numpy()))[:length]
        coded[row, : len(heard)] = heard
    return coded.to(samples.device)


def opus(samples: np.ndarray) -> np.ndarray:
    """[N] float32 at 16 kHz, after 18 kbit/s."""
    import soundfile

    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", SPEECH_RATE_HZ, 1, "OPUS", format="OGG", compression_level=_OPUS_LEVEL
    ) as out:
        for start in range(0, len(samples), SPEECH_RATE_HZ):  # long writes overflow its stack
            out.write(samples[start : start + SPEECH_RATE_HZ])
    file.seek(0)
    return np.asarray(soundfile.read(file, dtype="float32")[0])


CONDITIONS: Mapping[str, Condition] = {
    "clean": lambda samples, _: samples,
    "noise_15_db": lambda samples, lengths: noisy(samples, lengths, 15.0),
    "telephone": _telephone,
    "opus": _opus,
}


@torch.inference_mode()
def transcripts(
    model: Listener, recordings: Recordings, rows: np.ndarray, tokenizer: Tokenizer,
    condition: Condition = CONDITIONS["clean"],
) -> list[str]:  # fmt: skip
    """What the model writes of recordings, taking the likeliest token, as the server asks it."""
    end = recordings.template.writer.special.turn_end
    said: dict[int, str] = {}
    rows = rows[np.argsort(recordings.lengths[rows], kind="stable")]
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        lesson, samples, lengths = recordings.plain(part)
        samples = condition(samples, lengths)
        mels, frames = log_mels(samples, lengths, padding=MEL_PADDING)
        with torch.autocast(mels.device.type, torch.bfloat16, enabled=mels.is_cuda):
            _, speech = model.hear(mels, frames)
            embedded = model.embed(lesson.token_ids, speech, lesson)
            answers = generated(
                model.language, embedded, lesson.token_ids, lesson.starts, end,
                Sampling(repetition_penalty=1.0), _MAX_TOKENS,
            )  # fmt: skip
        for row, ids in zip(part.tolist(), answers, strict=True):
            said[row] = tokenizer.decode(ids)
    return [said[row] for row in sorted(said)]


def check(
    model: Listener, recordings: Recordings, tokenizer: Tokenizer, *, quick: bool = False
) -> dict[str, object]:
    """WER of each voice in each condition, and every sentence with what was heard.

    `quick`: the first forty recordings of a voice, as they are.
    """
    names: Sequence[str] = ("clean",) if quick else tuple(CONDITIONS)
    figures: dict[str, object] = {}
    without: dict[str, object] = {}
    heard: dict[str, list[tuple[str, str]]] = {}
    teachers = [voice.split()[0] for voice in recordings.voices]  # "espeak en-us+m1"
    for voice in sorted(set(teachers)):
        rows = np.array([i for i, name in enumerate(teachers) if name == voice])
        rows = rows[:_QUICK] if quick else rows
        wanted = [recordings.sentences[row] for row in rows]
        for name in names:
            said = transcripts(model, recordings, rows, tokenizer, CONDITIONS[name])
            figures[f"{voice} {name}"] = round(word_error_rate(wanted, said), 4)
            heard[f"{voice} {name}"] = list(zip(wanted, said, strict=True))
        phonemes, words = _without_decoder(model, recordings, rows, tokenizer)
        without |= {f"{voice} phonemes": phonemes, f"{voice} words": words}
    count = sum(map(len, heard.values())) // len(names)
    return {"sentences": count, "wer": figures, "without_decoder": without, "heard": heard}


@torch.inference_mode()
def _without_decoder(
    model: Listener, recordings: Recordings, rows: np.ndarray, tokenizer: Tokenizer
) -> tuple[float, float]:
    """The phoneme error rate and the word error rate of the two heads' likeliest symbols."""
    wrong = total = 0
    wanted, said = [], []
    for part in np.array_split(rows[np.argsort(recordings.lengths[rows])], -(-len(rows) // _BATCH)):
        lesson, samples, lengths = recordings.plain(part)
        states, speech = model.hear(*log_mels(samples, lengths, padding=MEL_PADDING))
        sounds = model.help["phonemes"](states).argmax(-1).cpu()
        spelled = model.help["words"](speech).argmax(-1).cpu()
        references = torch.split(lesson.phonemes.cpu(), lesson.phoneme_counts.tolist())
        for row, index in enumerate(part.tolist()):
            heard = collapsed(sounds[row, : lesson.state_counts[row]].tolist(), blank=0)
            wrong += edit_distance(heard, references[row].tolist())
            total += len(references[row])
            ids = spelled[row, : lesson.embeddings[row]].tolist()
            said.append(tokenizer.decode(collapsed(ids, blank=model.texts)))
            wanted.append(recordings.sentences[index])
    return round(wrong / max(total, 1), 4), round(word_error_rate(wanted, said), 4)


def collapsed(symbols: list[int], blank: int) -> list[int]:
    """A CTC path without its repeats and its blanks."""
    return [s for at, s in enumerate(symbols) if s != blank and (at == 0 or symbols[at - 1] != s)]
