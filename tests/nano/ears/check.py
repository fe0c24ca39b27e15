"""Word errors of the ears on sentences that are held out, by voices that are held out."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from deployments.thinker.vllm_plugin.lengths import MEL_PADDING
from serve_app.commands.word_error_rate import word_error_rate
from tests.nano.ears.lessons import Recordings
from tests.nano.ears.listener import Listener
from tests.nano.ears.rooms import banded, mu_law, noisy
from tests.nano.log_mels import log_mels
from tests.nano.thinker_answers import Sampling, generated

_BATCH = 64
_MAX_TOKENS = 64

Condition = Callable[[Tensor, Tensor], Tensor]  # samples [B, N], lengths [B] → [B, N]


def _telephone(samples: Tensor, lengths: Tensor) -> Tensor:
    edge = torch.ones(len(samples), 1, device=samples.device)
    return mu_law(banded(samples, 300 * edge, 3400 * edge).clamp(-1, 1))


CONDITIONS: Mapping[str, Condition] = {
    "clean": lambda samples, _: samples,
    "noise_15_db": lambda samples, lengths: noisy(samples, lengths, 15.0),
    "telephone": _telephone,
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


def check(model: Listener, recordings: Recordings, tokenizer: Tokenizer) -> dict[str, object]:
    """WER of each voice in each condition, and every sentence with what was heard when clean."""
    figures: dict[str, object] = {}
    heard: dict[str, list[tuple[str, str]]] = {}
    for voice in sorted(set(recordings.voices)):
        rows = np.array([i for i, name in enumerate(recordings.voices) if name == voice])
        wanted = [recordings.sentences[row] for row in rows]
        for name, condition in CONDITIONS.items():
            said = transcripts(model, recordings, rows, tokenizer, condition)
            figures[f"{voice} {name}"] = round(word_error_rate(wanted, said), 4)
            if name == "clean":
                heard[voice] = list(zip(wanted, said, strict=True))
    return {"sentences": len(recordings), "wer": figures, "heard": heard}
