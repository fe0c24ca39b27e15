"""What the Thinker is trained on is what the server asks; what is saved is what vLLM loads."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from deployments.mel import log_mel_spectrogram
from deployments.messages import Message
from deployments.thinker import tasks
from deployments.thinker.prompt import PromptBuilder
from deployments.thinker.tokens import Mode, OutputSplitter, TextVocabulary
from deployments.thinker.vllm_plugin.config import StepAudio2Config
from deployments.thinker.vllm_plugin.lengths import (
    BRACKETS,
    MEL_PADDING,
    mel_frames,
    num_embeddings,
    placeholder_tokens,
)
from serve_app.checkpoint.thinker_weights import ThinkerWeights
from serve_app.checkpoint.tokenizer import make_tokenizer
from tests.nano import thinker as training
from tests.nano.corpus.sentences import VOCABULARY, training_sentences
from tests.nano.corpus.store import Corpus, Kind, Utterance
from tests.nano.examples import Batch, Examples, Flat, Plan, Tables, Task, spellings
from tests.nano.sizes import USED_CODES
from tests.nano.text_tokenizer import nano_vocabulary
from tests.nano.thinker import Answerer, Ear, Lessons, Sampling, Thinker, draw

CPU = torch.device("cpu")
SENTENCES = 12
TOKENIZER = make_tokenizer(nano_vocabulary())
KINDS: tuple[Kind, ...] = ("standard", "standard", "free")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Chirps in the place of speech, of every remainder of a frame."""
    rng = np.random.default_rng(0)
    lengths = 8_000 + 701 * np.arange(SENTENCES * len(KINDS))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    times = np.concatenate([np.arange(length) for length in lengths]) / 16_000
    pitches = np.repeat(rng.uniform(100, 900, len(lengths)), lengths)
    chirps = 0.3 * np.sin(2 * np.pi * pitches * times * (1 + times))
    return Corpus(
        sentences=training_sentences(SENTENCES, seed=5),
        speakers=["one", "two"],
        utterances=[
            Utterance(sentence, 1 - nth % 2, kind, 170, 50)
            for sentence in range(SENTENCES)
            for nth, kind in enumerate(KINDS)
        ],
        speech=((chirps + 0.01 * rng.standard_normal(len(times))) * 32767).astype(np.int16),
        speech_starts=starts,
        sound=np.zeros(0, dtype=np.int16),
        sound_starts=np.zeros(len(starts), dtype=np.int64),
    )


@pytest.fixture(scope="module")
def codes(corpus: Corpus) -> Flat:
    rng = np.random.default_rng(1)
    counts = -(-np.diff(corpus.speech_starts) // 640)
    return Flat.of([rng.integers(USED_CODES, size=count) for count in counts])


@pytest.fixture(scope="module")
def examples(corpus: Corpus, codes: Flat) -> Examples:
    return Examples(corpus, codes, TOKENIZER, range(SENTENCES - 2))


def small_model() -> Thinker:
    """Nano's architecture with less of everything."""
    config = training.nano_config(nano_vocabulary()).to_published_dict()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config["text_config"] |= {**sizes, "num_attention_heads": 2, "num_key_value_heads": 1}
    audio = {"n_audio_state": 32, "n_audio_head": 2, "n_audio_layer": 2, "llm_dim": 32}
    config["audio_encoder_config"] |= {**audio, "adapter_state": 32}
    torch.manual_seed(0)
    return Thinker(StepAudio2Config(**config)).eval()


@pytest.fixture(scope="module")
def model() -> Thinker:
    """Large weights, so that what is said depends on all of the prompt."""
    model = small_model()
    for parameter in model.language.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=3 * parameter.shape[1] ** -0.5)
    return model


def drawn(examples: Examples, rows: int = 40, seed: int = 0) -> tuple[Plan, Batch]:
    plan = examples.draw(np.random.default_rng(seed), rows)
    return plan, Tables(examples, CPU).batch(plan)


# --- the text's tokens


def test_every_word_behind_a_space_is_one_token() -> None:
    for word in sorted(VOCABULARY):
        assert len(TOKENIZER.encode(f" {word}", add_special_tokens=False).ids) == 1, word


def test_beginnings_of_the_grammars_sentences_are_one_token() -> None:
    for sentence in training_sentences(500, seed=9, salad_share=0.0):
        beginning = sentence.split()[0].rstrip(",.?")
        for written in (beginning, beginning.lower()):
            assert len(TOKENIZER.encode(written, add_special_tokens=False).ids) == 1, written


def test_the_text_vocabulary_is_small_and_always_the_same() -> None:
    vocabulary = nano_vocabulary()
    assert len(vocabulary.text) < 2300 and vocabulary.size % 64 == 0
    assert nano_vocabulary.__wrapped__() == vocabulary


@pytest.mark.parametrize("text", ["Zebras quarrel, 42 times!", "请记录下", "a\n\n b\t🎧 é?"])
def test_any_text_comes_back(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False).ids) == text


def test_task_prompts_are_few_tokens() -> None:
    for prompt in (tasks.TRANSCRIBE, tasks.SPEAK):
        assert len(TOKENIZER.encode(prompt, add_special_tokens=False).ids) <= 3


# --- answers


@pytest.mark.parametrize("count", [1, 3, 4, 61, 120])  # fewer and more codes than the text needs
def test_a_spoken_answer_splits_back_into_its_text_and_codes(
    examples: Examples, count: int
) -> None:
    text, codes = "The cat sat on the table.", list(range(count))
    answer = examples.writer.spoken(text, codes)
    assert answer[-1] == examples.writer.special.turn_end
    split = OutputSplitter(examples.writer.special, TextVocabulary(TOKENIZER), Mode.SPEECH)
    parts = split.push(answer[:-1])
    assert (parts.text, parts.audio_tokens) == (text, codes)
    is_code = [examples.writer.special.is_audio(token) for token in answer[:-2]]
    assert is_code == [False, True, True, True, True] * (len(is_code) // 5)


def test_answers_are_the_sentence_and_its_standard_rendition(
    examples: Examples, corpus: Corpus, codes: Flat
) -> None:
    vocabulary = TextVocabulary(TOKENIZER)
    for sentence in (0, 3):
        splitter = OutputSplitter(examples.writer.special, vocabulary, Mode.SPEECH)
        rendition = examples.renditions[sentence]
        assert corpus.utterances[rendition] == Utterance(sentence, 0, "standard", 170, 50)
        answer = examples.answers[len(examples.sentences) + sentence]
        parts = splitter.push(answer[:-1].tolist())
        assert parts.text == corpus.sentences[sentence]
        assert parts.audio_tokens == codes[rendition].tolist()


# --- batches


def expected_prompt(examples: Examples, messages: tuple[Message, ...], samples: int) -> list[int]:
    """As vLLM sees it: the server's prompt with each `<audio_patch>` replaced."""
    special = examples.writer.special
    prompt = PromptBuilder(TOKENIZER, special).build(messages, "text")
    ids: list[int] = []
    for token in prompt.token_ids:
        patches = [special.audio_patch] * (placeholder_tokens(samples) - BRACKETS)
        heard = [special.audio_start, *patches, special.audio_end]
        ids += heard if token == special.audio_patch else [token]
    return ids


def test_rows_are_the_servers_prompts_and_then_the_answer(examples: Examples) -> None:
    plan, batch = drawn(examples)
    for row in np.flatnonzero(plan.tasks == Task.TRANSCRIBE):
        samples = int(plan.samples[row])
        prompt = expected_prompt(examples, tasks.transcribe(np.zeros(samples)), samples)
        answer = examples.answers[plan.answers[row]].tolist()
        assert batch.token_ids[row, : len(prompt) + len(answer)].tolist() == prompt + answer
        assert batch.starts[row] == len(prompt)


def test_prompts_without_speech_are_the_servers(examples: Examples, corpus: Corpus) -> None:
    plan, batch = drawn(examples, rows=200)
    special = examples.writer.special
    build = PromptBuilder(TOKENIZER, special).build
    count = len(examples.sentences)
    for row in np.flatnonzero(plan.tasks == Task.TEXT_SPOKEN):
        text = corpus.sentences[plan.answers[row] - count]
        possible = [
            build(messages, "speech").token_ids
            for spelling in spellings(text)
            for messages in (tasks.converse(spelling), tasks.converse(spelling)[1:])
        ]
        prompt = batch.token_ids[row, : int(batch.starts[row])].tolist()
        system = special.turn_start, *TOKENIZER.encode("system\n", add_special_tokens=False).ids
        assert prompt in possible or tuple(prompt[:3]) == system
        assert prompt[-1] == special.tts_start


def test_every_answer_token_is_predicted_from_the_one_before(examples: Examples) -> None:
    plan, batch = drawn(examples)
    assert torch.equal(batch.token_ids.flatten()[batch.at + 1], batch.targets)
    answers = np.concatenate([examples.answers[row] for row in plan.answers])
    assert batch.targets.tolist() == answers.tolist()


def test_sentences_that_are_left_out_are_in_no_batch(examples: Examples, corpus: Corpus) -> None:
    seen = set()
    for seed in range(20):
        plan = examples.draw(np.random.default_rng(seed), 40)
        seen |= {corpus.utterances[index].sentence for index in plan.utterances}
    assert seen == set(range(SENTENCES - 2))


def test_a_task_has_its_share_of_every_batch(examples: Examples) -> None:
    for seed in range(3):
        counts = np.bincount(examples.draw(np.random.default_rng(seed), 100).tasks)
        assert counts.tolist() == [35, 20, 3, 35, 4, 3]


# --- hearing


def test_log_mels_of_a_batch_are_the_servers(examples: Examples, corpus: Corpus) -> None:
    plan, batch = drawn(examples)
    mels, frames = Ear(corpus.speech_bank(CPU), CPU).hear(batch, roughly=False)
    for row, index in enumerate(plan.utterances):
        alone = log_mel_spectrogram(heard_alone(corpus, plan, row), padding=MEL_PADDING)
        assert frames[row] == alone.shape[1] == mel_frames(int(plan.samples[row])), index
        torch.testing.assert_close(mels[row, :, : alone.shape[1]], alone, atol=2e-4, rtol=0)
        assert not mels[row, :, alone.shape[1] :].any()


def heard_alone(corpus: Corpus, plan: Plan, row: int) -> torch.Tensor:
    begin, end = corpus.speech_starts[plan.utterances[row] : plan.utterances[row] + 2]
    samples = torch.zeros(int(plan.samples[row]))
    lead = int(plan.lead[row])
    speech = torch.from_numpy(np.array(corpus.speech[begin:end])).float() / 32768
    samples[lead : lead + len(speech)] = speech
    return samples


@torch.inference_mode()
def test_embeddings_stand_where_vllm_puts_them(
    examples: Examples, corpus: Corpus, model: Thinker
) -> None:
    plan, batch = drawn(examples)
    mels, frames = Ear(corpus.speech_bank(CPU), CPU).hear(batch, roughly=False)
    embedded = model.embed(batch, batch.token_ids, model.adapter(model.encoder(mels, frames)))
    words = model.language.model.embed_tokens(batch.token_ids)
    patch = examples.writer.special.audio_patch
    for row in range(len(plan.prompts)):
        place = batch.token_ids[row] == patch
        torch.testing.assert_close(embedded[row, ~place], words[row, ~place])
        if row < len(plan.utterances):
            count = num_embeddings(int(frames[row]))
            mel = mels[row : row + 1, :, : frames[row]]
            alone = model.adapter(model.encoder(mel, frames[row : row + 1]))[0, :count]
            assert place.sum() == count
            torch.testing.assert_close(embedded[row, place], alone, atol=1e-4, rtol=1e-4)
        else:
            assert not place.any()


def test_roughened_speech_differs_and_stays_within_its_length(
    examples: Examples, corpus: Corpus
) -> None:
    _, batch = drawn(examples)
    torch.manual_seed(0)
    ear = Ear(corpus.speech_bank(CPU), CPU)
    clean, frames = ear.hear(batch, roughly=False)
    rough, same_frames = ear.hear(batch, roughly=True)
    assert torch.equal(frames, same_frames)
    outside = torch.arange(clean.shape[2]) >= frames[:, None, None]
    assert not rough.masked_select(outside).any()
    assert (rough - clean).abs().mean((1, 2)).min() > 0.01


# --- learning and answering


def test_losses_fall(examples: Examples, corpus: Corpus, codes: Flat) -> None:
    model = small_model()
    lessons = Lessons(model, examples, codes, corpus.speech_bank(CPU), rows=24)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    values = []
    for step in range(12):
        losses = lessons.losses(step, 0.0)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        values.append({name: value.item() for name, value in losses.items()})
    assert all(np.isfinite(list(row.values())).all() for row in values)
    for name in (
        "heard_digits",
        "heard_words",
        "transcript",
        "written",
        "spoken_text",
        "repeated_text",
        "codes",
    ):
        assert values[-1][name] < 0.98 * values[0][name], name


@torch.inference_mode()
@pytest.mark.parametrize("task", [Task.TRANSCRIBE, Task.SPEAK])
def test_answers_with_a_cache_and_in_a_batch_are_those_without(
    examples: Examples, corpus: Corpus, model: Thinker, task: Task
) -> None:
    bank, sentences = corpus.speech_bank(CPU), [0, 4, 7]
    utterances = [3 * sentence for sentence in sentences] if task is Task.TRANSCRIBE else []
    plain = Sampling(repetition_penalty=1.0)
    options = {"sampling": plain, "max_tokens": 8}
    answers = Answerer(model, examples, bank).answer(task, sentences, utterances, **options)
    assert len({tuple(answer) for answer in answers}) == len(sentences)
    for row, sentence in enumerate(sentences):
        plan = examples.asked(task, [sentence], utterances[row : row + 1])
        batch = Tables(examples, CPU).batch(plan)
        embeddings = torch.zeros(0)
        if utterances:
            mels, frames = Ear(bank, CPU).hear(batch, roughly=False)
            embeddings = model.adapter(model.encoder(mels, frames))
        embedded = model.embed(batch, batch.token_ids, embeddings)[:, : int(batch.starts[0])]
        alone: list[int] = []
        for _ in range(8):
            token = model.language.lm_head(model.decode(embedded)[:, -1]).argmax(-1)
            alone.append(int(token))
            embedded = torch.cat([embedded, model.language.model.embed_tokens(token[None])], 1)
        assert answers[row] == alone


def test_drawing_keeps_to_the_likeliest_and_to_the_penalty() -> None:
    logits = torch.tensor([[2.0, 1.9, -1.0, -9.0]]).repeat(500, 1)
    seen = torch.zeros_like(logits, dtype=torch.bool)
    assert draw(logits, seen, Sampling()).unique().tolist() == [0]
    seen[:, 0] = True
    assert draw(logits, seen, Sampling(repetition_penalty=1.1)).unique().tolist() == [1]
    torch.manual_seed(0)
    some = Sampling(temperature=1.0, top_p=0.9, repetition_penalty=1.0)
    assert draw(logits, seen, some).unique().tolist() == [0, 1]


# --- what is written


def test_the_saved_folder_has_the_published_names_and_reads_back(tmp_path: Path) -> None:
    vocabulary = nano_vocabulary()
    config = training.nano_config(vocabulary)
    model = Thinker(config)
    training.save(model, config, vocabulary, tmp_path)
    published = StepAudio2Config(**json.loads((tmp_path / "config.json").read_text()))
    expected = ThinkerWeights(published, vocabulary, seed=0)
    weights = model.published_weights()
    assert {name: value.shape for name, value in weights.items()} == expected.shapes
    assert all(value.dtype is expected.dtype is torch.bfloat16 for value in weights.values())
    assert AutoTokenizer.from_pretrained(tmp_path).get_vocab() == vocabulary.ids
    files = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert files < 24_000_000
