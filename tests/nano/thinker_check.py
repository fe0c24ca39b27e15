"""How well the Thinker hears, speaks and repeats sentences that it was not trained on."""

from collections.abc import Iterable, Sequence

import numpy as np

from deployments.thinker.tokens import Mode, OutputSplitter, TextVocabulary
from serve_app.checkpoint.tokenizer import make_tokenizer
from serve_app.commands.word_error_rate import edit_distance, word_error_rate
from tests.nano.corpus.store import Corpus
from tests.nano.flat import Flat
from tests.nano.text_tokenizer import nano_vocabulary
from tests.nano.thinker_answers import SPEECH_SAMPLING, Answerer
from tests.nano.thinker_examples import Examples, Task


def check(
    answerer: Answerer, examples: Examples, codes: Flat, sentences: Sequence[int]
) -> dict[str, object]:
    """How well `sentences` are heard, spoken and repeated. Rates and shares are 0 … 1."""
    corpus, special = examples.corpus, examples.writer.special
    texts = [corpus.sentences[sentence] for sentence in sentences]
    vocabulary = TextVocabulary(make_tokenizer(nano_vocabulary()))

    def split(ids: Sequence[int], mode: Mode) -> tuple[str, list[int]]:
        parts = OutputSplitter(special, vocabulary, mode).push(ids)
        return parts.text, parts.audio_tokens

    free = _free_utterances(corpus, sentences)
    standard = [examples.renditions[sentence] for sentence in sentences]
    figures: dict[str, object] = {"sentences": len(sentences)}
    for name, heard in (("free", free), ("standard", standard)):
        answers = answerer.answer(Task.TRANSCRIBE, sentences, heard)
        said = [split(ids, Mode.TEXT)[0] for ids in answers]
        figures[f"transcription_wer_{name}"] = round(word_error_rate(texts, said), 4)
        figures[f"mistakes_{name}"] = [(a, b) for a, b in zip(texts, said, strict=True) if a != b]
    for name, answers in (
        ("speak", answerer.answer(Task.SPEAK, sentences, sampling=SPEECH_SAMPLING)),
        ("repeat", answerer.answer(Task.REPEAT, sentences, free, sampling=SPEECH_SAMPLING)),
    ):
        spoken = [split(ids, Mode.SPEECH) for ids in answers]
        truth = [codes[rendition] for rendition in standard]
        pairs = [(made, list(true)) for (_, made), true in zip(spoken, truth, strict=True)]
        figures |= {
            f"{name}_ended": _mean(special.tts_end in ids for ids in answers),
            f"{name}_length_ratio": _mean(len(made) / len(true) for made, true in pairs),
            f"{name}_code_similarity": _mean(
                1 - edit_distance(made, true) / max(len(made), len(true)) for made, true in pairs
            ),
            f"{name}_text_wer": round(word_error_rate(texts, [text for text, _ in spoken]), 4),
        }
    return figures


def _free_utterances(corpus: Corpus, sentences: Sequence[int]) -> list[int]:
    """One utterance of each sentence, a free one where there is one."""
    found: dict[int, int] = {}
    for index, utterance in enumerate(corpus.utterances):
        if utterance.kind == "free" or utterance.sentence not in found:
            found[utterance.sentence] = index
    return [found[sentence] for sentence in sentences]


def _mean(values: Iterable[float]) -> float:
    return round(float(np.mean(list(values))), 4)
