"""What the Thinker is trained on: prompts as the server writes them, and the answers to them.

    transcribe          speech → what was said, written
    speak               a text → the text, spoken
    repeat              a question in speech → the same words, spoken
    others              speech or text in a conversation → the same words, written; text → spoken

An answer is always the sentence as the corpus writes it, however the prompt spells it (as written,
in lower case, without its full stop), and its sound is always one and the same recording at nano's
standard rate: codes mean words, not voices, and the fewer ways there are to say a sentence, the
fewer there are to learn.

Prompts and answers lie one behind the other in flat arrays. A batch is drawn on the host, which
therefore knows every length, and put together on the device, which therefore is never waited for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate
from typing import Literal

import numpy as np
from tokenizers import Tokenizer

from deployments.messages import Message
from deployments.thinker import tasks
from deployments.thinker.prompt import PromptBuilder, without_added_tokens
from deployments.thinker.tokens import SpecialTokens
from deployments.thinker.vllm_plugin.lengths import (
    MIN_PIECE_SAMPLES,
    SAMPLE_RATE_HZ,
    mel_frames,
    num_embeddings,
)
from tests.nano.corpus.store import Corpus
from tests.nano.flat import Flat
from tests.nano.sizes import CODES_PER_S

AUDIO_GROUP = 4  # TA4: one text token, four audio tokens
SAMPLES_PER_CODE = SAMPLE_RATE_HZ // CODES_PER_S
WIDTH_MULTIPLE = 64
FREE_WEIGHT = 4  # a free utterance is heard as often as four standard ones
LENGTH_WINDOWS, SMALLEST_WINDOW = 6, 64  # a batch is drawn from a sixth of all sentences
CUT_CLOSE_SHARE = 1 / 3  # of beginnings and of ends: no silence at all, as a file may be cut
LONGEST_SILENCE = 10  # codes of silence before what is heard, and as much after it: 0.4 s

SYSTEMS = (
    "Repeat what you hear.",
    "You are a voice assistant.",
    "Say it again, please.",
    "Answer with the same words.",
)
INSTRUCTIONS = ("Speak slowly.", "Be cheerful.", "In a calm voice.", "Read it as news.")


class Task(IntEnum):
    """Which input, which output; the first three listen."""

    TRANSCRIBE = 0
    REPEAT = 1
    HEARD_WRITTEN = 2
    SPEAK = 3
    TEXT_SPOKEN = 4
    TEXT_WRITTEN = 5


LISTENING = (Task.TRANSCRIBE, Task.REPEAT, Task.HEARD_WRITTEN)
SPOKEN = (Task.REPEAT, Task.SPEAK, Task.TEXT_SPOKEN)
SHARES = {
    Task.TRANSCRIBE: 0.35,
    Task.REPEAT: 0.20,
    Task.HEARD_WRITTEN: 0.03,
    Task.SPEAK: 0.35,
    Task.TEXT_SPOKEN: 0.04,
    Task.TEXT_WRITTEN: 0.03,
}


class Writer:
    """Token ids of prompts and of answers."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.special = SpecialTokens.from_tokenizer(tokenizer)
        self._prompts = PromptBuilder(tokenizer, self.special)
        self._plain = without_added_tokens(tokenizer)

    def prompt(
        self, messages: Sequence[Message], reply: Literal["text", "speech"] = "text"
    ) -> list[int]:
        """As the server writes it; one `<audio_patch>` stands for speech."""
        return self._prompts.build(messages, reply).token_ids

    def written(self, text: str) -> list[int]:
        """An answer in writing."""
        return [*self._text(text), self.special.turn_end]

    def spoken(self, text: str, codes: Sequence[int] | np.ndarray) -> list[int]:
        """An answer in speech, after the prompt's `<tts_start>`: TA4, the shorter side padded."""
        special, words = self.special, self._text(text)
        sounds = [special.audio_first + int(code) for code in codes]
        groups = max(len(words), -(-len(sounds) // AUDIO_GROUP))
        words += [special.tts_pad] * (groups - len(words))
        sounds += [special.audio_pad] * (groups * AUDIO_GROUP - len(sounds))
        answer: list[int] = []
        for index, word in enumerate(words):
            answer += [word, *sounds[index * AUDIO_GROUP : (index + 1) * AUDIO_GROUP]]
        return [*answer, special.tts_end, special.turn_end]

    def _text(self, text: str) -> list[int]:
        return self._plain.encode(text, add_special_tokens=False).ids


def spellings(sentence: str) -> tuple[str, str, str]:
    """How a user may write a sentence: as it is, in lower case, without its full stop."""
    return sentence, sentence.lower(), sentence.rstrip(".?!")


@dataclass(frozen=True)
class Plan:
    """A batch, as the host draws it. [B] are all rows, [A] the first of them, which listen."""

    tasks: np.ndarray  # [B]
    prompts: np.ndarray  # [B] rows of `Examples.prompts`
    answers: np.ndarray  # [B] rows of `Examples.answers`
    utterances: np.ndarray  # [A] rows of the corpus
    lead: np.ndarray  # [A] samples of silence before the utterance, whole codes
    samples: np.ndarray  # [A] samples of what is heard, silence included
    width: int  # tokens of the longest row, up to a multiple
    answer_tokens: int  # of all rows together


class Examples:
    """Every prompt and every answer of some sentences, and how to draw batches of them."""

    def __init__(
        self, corpus: Corpus, codes: Flat, tokenizer: Tokenizer, sentences: Sequence[int]
    ) -> None:
        """`sentences` are indices into the corpus's; only they and their utterances are used."""
        self.sentences = np.asarray(sentences)
        self.corpus = corpus
        self.writer = Writer(tokenizer)
        self._prompt_rows: list[list[int]] = []
        texts = [corpus.sentences[sentence] for sentence in self.sentences]
        self._choices = self._add_prompts(texts)
        self.prompts = Flat.of(self._prompt_rows)
        patch = self.writer.special.audio_patch
        self.patches = np.array(  # [prompts] where speech is to stand, -1 in a prompt of text
            [row.index(patch) if patch in row else -1 for row in self._prompt_rows]
        )

        place = {int(sentence): index for index, sentence in enumerate(self.sentences)}
        used = [i for i, u in enumerate(corpus.utterances) if u.sentence in place]
        self._sentence_of = np.array([place.get(u.sentence, -1) for u in corpus.utterances])
        self._speech_samples = np.diff(corpus.speech_starts)
        self.renditions = _standard_renditions(corpus, used)  # by sentence of the corpus
        written = [self.writer.written(text) for text in texts]
        spoken = [
            self.writer.spoken(text, codes[self.renditions[int(sentence)]])
            for text, sentence in zip(texts, self.sentences, strict=True)
        ]
        self.answers = Flat.of([*written, *spoken])  # [2 × sentences]
        # Batches are of sentences of like length, so that they are padded little.
        self._by_length = np.argsort([len(row) for row in spoken], kind="stable")
        rank = np.argsort(self._by_length)
        heard = np.array(used).repeat([_weight(corpus, index) for index in used])
        ranks = rank[self._sentence_of[heard]]
        order = np.argsort(ranks, kind="stable")
        self._heard, self._heard_ranks = heard[order], ranks[order]  # the free ones more often

    def draw(self, rng: np.random.Generator, rows: int) -> Plan:
        """A batch of `rows` in which every task has its share: the same counts in every batch."""
        ends = [round(rows * share) for share in accumulate(SHARES.values())]
        counts = np.diff([0, *ends[:-1], rows])
        chosen = np.repeat(list(SHARES), counts)
        listening = int(np.isin(chosen, LISTENING).sum())
        count = len(self.sentences)
        window = max(count // LENGTH_WINDOWS, min(count, SMALLEST_WINDOW))
        first = int(np.clip(rng.integers(count) - window // 2, 0, count - window))
        begin, end = map(int, np.searchsorted(self._heard_ranks, (first, first + window)))
        utterances = self._heard[rng.integers(begin, end, size=listening)]
        texts = self._by_length[rng.integers(first, first + window, size=rows - listening)]
        places = np.concatenate([self._sentence_of[utterances], texts])
        silence = rng.integers(LONGEST_SILENCE + 1, size=(2, listening)) * SAMPLES_PER_CODE
        lead, tail = silence * (rng.random((2, listening)) >= CUT_CLOSE_SHARE)
        return self._plan(chosen, places, utterances, lead, tail, rng)

    def asked(self, task: Task, sentences: Sequence[int], utterances: Sequence[int] = ()) -> Plan:
        """Some sentences in the plainest prompt of one task, without added silence.

        Args:
            task: of all of them.
            sentences: indices into the corpus's.
            utterances: one of each sentence if the task listens, else none.
        """
        place = {int(sentence): index for index, sentence in enumerate(self.sentences)}
        places = np.array([place[sentence] for sentence in sentences])
        silence = np.zeros(len(utterances), dtype=np.int64)
        chosen = np.full(len(places), int(task))
        return self._plan(chosen, places, np.asarray(utterances, dtype=np.int64), silence, silence)

    def _plan(
        self,
        chosen: np.ndarray,
        places: np.ndarray,
        utterances: np.ndarray,
        lead: np.ndarray,
        tail: np.ndarray,
        rng: np.random.Generator | None = None,
    ) -> Plan:
        prompts = np.empty(len(chosen), dtype=np.int64)
        for task in Task:
            here = np.flatnonzero(chosen == task)
            table = self._choices[task]  # [1 or sentences, prompts]
            column = rng.integers(table.shape[1], size=len(here)) if rng else 0
            prompts[here] = table[places[here] % len(table), column]
        answers = places + np.where(np.isin(chosen, SPOKEN), len(self.sentences), 0)
        samples = np.maximum(self._speech_samples[utterances] + lead + tail, MIN_PIECE_SAMPLES)
        lengths = self.prompts.lengths[prompts] + self.answers.lengths[answers]
        # Its embeddings and their two brackets stand in the place of one token.
        lengths[: len(samples)] += num_embeddings(mel_frames(samples)) + 1
        return Plan(
            tasks=chosen,
            prompts=prompts,
            answers=answers,
            utterances=utterances,
            lead=lead,
            samples=samples,
            width=up_to_multiple(int(lengths.max()), WIDTH_MULTIPLE),
            answer_tokens=int(self.answers.lengths[answers].sum()),
        )

    def _add_prompts(self, texts: Sequence[str]) -> dict[Task, np.ndarray]:
        """The rows of each task's prompts: [1, n] where all sentences share them, or [texts, n].

        The first is the plainest. CONVERSE is what the server puts where a chat has no system
        message, so it is what most repeats are asked with.
        """
        sound = np.zeros(MIN_PIECE_SAMPLES, dtype=np.float32)  # only its place in the prompt counts
        heard = [tasks.converse(sound)] * len(SYSTEMS)
        heard += [tasks.converse(sound, system=system) for system in SYSTEMS]
        heard += [tasks.converse(sound)[1:]]  # no system message
        shared = {
            Task.TRANSCRIBE: [self._add(tasks.transcribe(sound))],
            Task.REPEAT: [self._add(messages, "speech") for messages in heard],
            Task.HEARD_WRITTEN: [self._add(messages) for messages in heard],
        }
        own: dict[Task, list[list[int]]] = {task: [] for task in Task if task not in shared}
        for index, text in enumerate(texts):
            written, lower, open_ended = spellings(text)
            instructions = INSTRUCTIONS[index % len(INSTRUCTIONS)]
            own[Task.SPEAK].append(
                [
                    self._add(tasks.speak(written), "speech"),
                    self._add(tasks.speak(lower), "speech"),
                    self._add(tasks.speak(open_ended), "speech"),
                    self._add(tasks.speak(written, instructions), "speech"),
                ]
            )
            system = SYSTEMS[index % len(SYSTEMS)]
            other = (lower, open_ended)[index // len(SYSTEMS) % 2]
            chats = [
                tasks.converse(written),
                tasks.converse(other),
                tasks.converse(written, system=system),
                tasks.converse(written)[1:],  # no system message
            ]
            own[Task.TEXT_SPOKEN].append([self._add(chat, "speech") for chat in chats])
            own[Task.TEXT_WRITTEN].append([self._add(chat) for chat in chats])
        return {task: np.array([rows]) for task, rows in shared.items()} | {
            task: np.array(rows) for task, rows in own.items()
        }

    def _add(self, messages: Sequence[Message], reply: Literal["text", "speech"] = "text") -> int:
        self._prompt_rows.append(self.writer.prompt(messages, reply))
        return len(self._prompt_rows) - 1


def _weight(corpus: Corpus, utterance: int) -> int:
    return FREE_WEIGHT if corpus.utterances[utterance].kind == "free" else 1


def _standard_renditions(corpus: Corpus, used: Sequence[int]) -> dict[int, int]:
    """Sentence → its standard utterance of the lowest speaker: as few speakers as can be."""
    found: dict[int, int] = {}
    for index in used:
        utterance = corpus.utterances[index]
        best = found.get(utterance.sentence)
        if utterance.kind == "standard" and (
            best is None or utterance.speaker < corpus.utterances[best].speaker
        ):
            found[utterance.sentence] = index
    return found


def up_to_multiple(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
