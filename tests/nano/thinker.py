"""Nano's Thinker: trained on what the server asks, written as vLLM loads it, and tried out."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, Qwen2ForCausalLM

from deployments.mel import mel_filterbank
from deployments.thinker.tokens import (
    Mode,
    OutputSplitter,
    TextVocabulary,
)
from deployments.thinker.vllm_plugin.audio_encoder import Adapter, AudioEncoder
from deployments.thinker.vllm_plugin.config import AudioEncoderConfig, StepAudio2Config
from deployments.thinker.vllm_plugin.lengths import (
    MEL_HOP,
    MEL_PADDING,
    SAMPLE_RATE_HZ,
    mel_frames,
    num_embeddings,
)
from serve_app.checkpoint.shards import write_shards
from serve_app.checkpoint.tokenizer import make_tokenizer, write_tokenizer
from serve_app.checkpoint.vocabulary import Vocabulary
from serve_app.word_errors import edit_distance, word_error_rate
from tests.nano.corpus.store import Bank, Corpus
from tests.nano.examples import (
    SAMPLES_PER_CODE,
    SPOKEN,
    Batch,
    Examples,
    Flat,
    Tables,
    Task,
)
from tests.nano.sizes import (
    ACTIVE_DIGITS,
    CODE_LEVELS,
    THINKER_AUDIO,
    THINKER_TEXT,
    USED_CODES,
)
from tests.nano.text_tokenizer import nano_vocabulary
from tests.nano.training import Recipe, device, seed_everything, train

LEARNING_RATE = 1.5e-3
LEFT_OUT_SHARE = 0.02  # of the sentences, the last ones: never trained on
CHECKED_SENTENCES = 64
CORRUPTED_SHARE = 0.08  # of the codes that the model reads back: it must survive its own mistakes
HEARING_WEIGHT = 0.5  # at first; the help that hearing gets fades out
NOISELESS_SHARE = 0.25  # of what is heard: a synthesiser's silence is none of a room's
MELS, N_FFT = 128, 400
TILT_POINTS, TILT_DB = 6, 6.0
SHARD_BYTES = 64_000_000


def nano_config(vocabulary: Vocabulary) -> StepAudio2Config:
    """The Thinker's sizes and ids."""
    text = {
        **THINKER_TEXT,
        "vocab_size": vocabulary.size,
        "eos_token_id": vocabulary.eos_token_ids,
        "pad_token_id": vocabulary.ids["<|endoftext|>"],
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "torch_dtype": "bfloat16",
    }
    return StepAudio2Config(text_config=text, audio_encoder_config=dict(THINKER_AUDIO))


class Thinker(nn.Module):
    """The encoder and the adapter that are served, before transformers' Qwen2."""

    def __init__(self, config: StepAudio2Config) -> None:
        super().__init__()
        audio = config.audio_encoder_config
        self.encoder = AudioEncoder(audio)
        self.adapter = Adapter(audio)
        self.language = Qwen2ForCausalLM(config.text_config).float()
        # Help to hear, which is not served: each of the encoder's states tells the digits of the
        # code it stands at, and the embeddings spell the words (CTC, whose blank is the last).
        self.help = nn.ModuleDict(
            {
                "digits": nn.Linear(audio.n_audio_state, ACTIVE_DIGITS * CODE_LEVELS),
                "words": nn.Linear(audio.llm_dim, len(nano_vocabulary().text) + 1),
            }
        )
        # Whisper's positions: those that training never reaches are like those that it does.
        with torch.no_grad():
            self.encoder.positional_embedding.weight.copy_(_sinusoids(audio))

    def embed(self, batch: Batch, token_ids: Tensor, embeddings: Tensor) -> Tensor:
        """The decoder's inputs: [B, L, C] of ids [B, L] and of speech [A, n, C], which stands at
        the first rows' `<audio_patch>` ids."""
        embedded = self.language.model.embed_tokens(token_ids)
        listening = len(embeddings)
        if not listening:
            return embedded
        nth = torch.arange(token_ids.shape[1], device=token_ids.device) - batch.patches[:, None]
        inside = (nth >= 0) & (nth < batch.embeddings[:, None])  # [A, L]
        picked = nth.clamp(0, embeddings.shape[1] - 1)[..., None].expand(-1, -1, embedded.shape[2])
        speech = embeddings.to(embedded.dtype).gather(1, picked)
        heard = torch.where(inside[..., None], speech, embedded[:listening])
        return torch.cat([heard, embedded[listening:]])

    def decode(self, embedded: Tensor) -> Tensor:
        """[B, L, C] → the last hidden states, [B, L, C]. Every row begins at place 0."""
        # A dictionary is taken as it is; None in it means causal, with no look at the device.
        masks = {"full_attention": None}
        return self.language.model(
            inputs_embeds=embedded, attention_mask=masks, use_cache=False
        ).last_hidden_state

    def published_weights(self) -> dict[str, Tensor]:
        """What is served, by the published names, in bfloat16 on the CPU."""
        return {
            name.removeprefix("language."): value.detach().to("cpu", torch.bfloat16).contiguous()
            for name, value in self.state_dict().items()
            if not name.startswith("help.")
        }

    def round_weights(self) -> None:
        """Make the weights those that are saved."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(parameter.bfloat16().float())


class Ear:
    """Recordings → log-mels on the device, as `deployments.mel.log_mel_spectrogram` makes them."""

    def __init__(self, speech: Bank, on: torch.device) -> None:
        self._speech = speech
        self._window = torch.hann_window(N_FFT, device=on)
        self._filters = mel_filterbank(SAMPLE_RATE_HZ, N_FFT, MELS, SAMPLE_RATE_HZ / 2).to(on)

    def hear(self, batch: Batch, *, roughly: bool) -> tuple[Tensor, Tensor]:
        """What the batch listens to; `roughly`: louder or softer, through noise and a coloured
        channel.

        Returns:
            log-mels [A, 128, T], zero past each end, and frames [A].
        """
        width = batch.speech_width
        samples = self._speech.slice(batch.utterances, -batch.lead, width)  # [A, width]
        # Before an utterance lies another one.
        samples *= torch.arange(width, device=samples.device) >= batch.lead[:, None]
        tilt = None
        if roughly:
            samples = _roughen(samples, batch.samples)
            points = (torch.rand(len(samples), 1, TILT_POINTS, device=samples.device) - 0.5) * 2
            tilt = F.interpolate(points * TILT_DB / 10, MELS, mode="linear").transpose(1, 2)
        return self.log_mels(samples, batch.samples, tilt)

    def log_mels(
        self, samples: Tensor, lengths: Tensor, tilt: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """samples [A, N] with zeros past `lengths` [A]; `tilt` [A, 128, 1] is added to log10.

        Zeros may stand for the reflection at an end: the 479 zeros there reflect to zeros.

        Returns:
            [A, 128, T], zero past each end, and frames [A].
        """
        padded = F.pad(samples, (0, MEL_PADDING))
        spectrum = torch.stft(padded, N_FFT, MEL_HOP, window=self._window, return_complex=True)
        power = torch.view_as_real(spectrum[..., :-1]).square().sum(-1)  # [A, 201, T]
        with torch.autocast(power.device.type, enabled=False):
            log_mel = (self._filters @ power).clamp(min=1e-10).log10()
        if tilt is not None:
            log_mel = log_mel + tilt
        frames: Tensor = mel_frames(lengths)  # plain arithmetic, so of tensors too
        inside = torch.arange(log_mel.shape[2], device=samples.device) < frames[:, None, None]
        loudest = log_mel.masked_fill(~inside, -10.0).amax((1, 2), keepdim=True)
        return (torch.maximum(log_mel, loudest - 8.0) + 4.0) / 4.0 * inside, frames


class Lessons:
    """The batches of training and their losses."""

    def __init__(
        self, model: Thinker, examples: Examples, codes: Flat, speech: Bank, rows: int
    ) -> None:
        self._on = device()
        self._model = model
        self._examples = examples
        self._tables = Tables(examples, self._on)
        self._special = examples.writer.special
        self._ear = Ear(speech, self._on)
        self._rows = rows
        self._rng = np.random.default_rng(0)
        self._codes = torch.from_numpy(codes.values).to(self._on)
        self._code_starts = torch.from_numpy(codes.starts).to(self._on)

    def losses(self, step: int, done: float) -> dict[str, Tensor]:
        """One batch. The kinds of answer tokens weigh the same, however many there are of each."""
        batch = self._tables.batch(self._examples.draw(self._rng, self._rows))
        mels, frames = self._ear.hear(batch, roughly=True)
        with torch.autocast(self._on.type, torch.bfloat16, enabled=self._on.type == "cuda"):
            states = self._model.encoder(mels, frames)  # [A, T // 4, C]
            speech = self._model.adapter(states)  # [A, n, C]
            embedded = self._model.embed(batch, self._corrupted(batch), speech)
            hidden = self._model.decode(embedded).flatten(0, 1)[batch.at]  # [N, C]
            logits = self._model.language.lm_head(hidden)  # [N, vocabulary]
            surprise = F.cross_entropy(logits.float(), batch.targets, reduction="none")
            digits = self._digits_loss(batch, states)
            words = self._words_loss(batch, speech)
        right = (logits.argmax(-1) == batch.targets).float()
        help_ = HEARING_WEIGHT * (1 - done) * (digits + words)
        values = {"loss": help_, "heard_digits": digits, "heard_words": words}
        kinds = self._kinds(batch)
        for name, chosen in kinds.items():
            weights = chosen / chosen.sum().clamp(min=1)
            values[name] = (surprise * weights).sum()
            values[f"{name}_accuracy"] = (right * weights).sum()
            values["loss"] = values["loss"] + values[name] / len(kinds)
        return values

    def _kinds(self, batch: Batch) -> dict[str, Tensor]:
        """Which of the answers' tokens are of which kind: [N] float32 each."""
        spoken = torch.stack([batch.tasks == task for task in SPOKEN]).any(0)
        sound = self._is_sound(batch.targets)
        heard = batch.tasks == Task.REPEAT
        padding = batch.targets == self._special.tts_pad
        kinds = {
            "transcript": batch.tasks == Task.TRANSCRIBE,
            "written": ~spoken & (batch.tasks != Task.TRANSCRIBE),
            "spoken_text": spoken & ~sound & ~heard & ~padding,
            "repeated_text": heard & ~sound & ~padding,
            "padding": padding,
            "codes": sound,
        }
        return {name: chosen.float() for name, chosen in kinds.items()}

    def _is_sound(self, token_ids: Tensor) -> Tensor:
        special = self._special
        return (token_ids >= special.audio_first) & (token_ids <= special.audio_pad)

    def _corrupted(self, batch: Batch) -> Tensor:
        """The batch's ids with some codes exchanged for any others."""
        ids, special = batch.token_ids, self._special
        codes = (ids >= special.audio_first) & (ids < special.audio_pad)
        others = torch.randint_like(ids, USED_CODES) + special.audio_first
        exchanged = codes & (torch.rand(ids.shape, device=ids.device) < CORRUPTED_SHARE)
        return torch.where(exchanged, others, ids)

    def _words_loss(self, batch: Batch, speech: Tensor) -> Tensor:
        """How badly embeddings [A, n, C], 12.5 a second, spell what is said, a word (CTC)."""
        plan = batch.plan
        listening = len(plan.utterances)
        # An answer in writing, without its end, is what is said.
        rows = plan.answers[:listening] % len(self._examples.sentences)
        lengths = torch.from_numpy(self._examples.answers.lengths[rows] - 1)
        starts = torch.from_numpy(self._examples.answers.starts[rows])
        place = torch.arange(int(lengths.max()))
        ids = torch.from_numpy(self._examples.answers.values)[
            starts[:, None] + torch.minimum(place, lengths[:, None] - 1)
        ]
        embeddings: np.ndarray = num_embeddings(mel_frames(plan.samples))  # type: ignore[arg-type,assignment]  # plain arithmetic, so of arrays too
        scores = self._model.help["words"](speech).float().log_softmax(-1).transpose(0, 1)
        return F.ctc_loss(
            scores,
            ids.to(self._on, non_blocking=True),
            torch.from_numpy(embeddings),
            lengths,
            blank=scores.shape[2] - 1,
            zero_infinity=True,
        )

    def _digits_loss(self, batch: Batch, states: Tensor) -> Tensor:
        """How badly the encoder's states, 25 a second, know the codes of what they stand at."""
        starts = self._code_starts[batch.utterances]
        counts = self._code_starts[batch.utterances + 1] - starts
        nth = torch.arange(states.shape[1], device=states.device)
        nth = nth - (batch.lead // SAMPLES_PER_CODE)[:, None]  # [A, T // 4]
        inside = (nth >= 0) & (nth < counts[:, None])
        codes = self._codes[starts[:, None] + torch.minimum(nth.clamp(min=0), counts[:, None] - 1)]
        levels = CODE_LEVELS ** torch.arange(ACTIVE_DIGITS, device=states.device)
        digits = codes[..., None] // levels % CODE_LEVELS  # [A, T // 4, digits]
        logits = self._model.help["digits"](states).unflatten(-1, (ACTIVE_DIGITS, CODE_LEVELS))
        surprise = F.cross_entropy(
            logits.flatten(0, -2).float(), digits.flatten(), reduction="none"
        )
        surprise = surprise.view(digits.shape).mean(-1)
        return (surprise * inside).sum() / inside.sum().clamp(min=1)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn; a temperature of 0 takes the likeliest."""

    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.05  # the server's default, for transcriptions too


SPEECH_SAMPLING = Sampling(temperature=0.7, top_p=0.9)


class Answerer:
    """Answers many prompts at once, on the device, as the server's engine would."""

    def __init__(self, model: Thinker, examples: Examples, speech: Bank) -> None:
        self._on = device()
        self._model = model
        self._examples = examples
        self._tables = Tables(examples, self._on)
        self._ear = Ear(speech, self._on)

    @torch.inference_mode()
    def answer(
        self,
        task: Task,
        sentences: Sequence[int],
        utterances: Sequence[int] = (),
        *,
        sampling: Sampling = Sampling(),  # frozen
        max_tokens: int = 256,
    ) -> list[list[int]]:
        """The answers' ids, each up to its `<|EOT|>`, without it."""
        batch = self._tables.batch(self._examples.asked(task, sentences, utterances))
        with torch.autocast(self._on.type, torch.bfloat16, enabled=self._on.type == "cuda"):
            embeddings = torch.zeros(0, device=self._on)
            if len(utterances):
                mels, frames = self._ear.hear(batch, roughly=False)
                embeddings = self._model.adapter(self._model.encoder(mels, frames))
            embedded = self._model.embed(batch, batch.token_ids, embeddings)
            ids = self._generate(embedded, batch, sampling, max_tokens)
        end = self._examples.writer.special.turn_end
        return [row[: row.index(end)] if end in row else row for row in ids.tolist()]

    def _generate(
        self, embedded: Tensor, batch: Batch, sampling: Sampling, max_tokens: int
    ) -> Tensor:
        """[B, tokens]: the prompts are moved to the right, so that all end together."""
        longest = int(batch.starts.max())
        place = torch.arange(longest, device=self._on)
        begins = longest - batch.starts[:, None]  # [B, 1]
        moved = (place - begins).clamp(min=0)
        inputs = embedded.gather(1, moved[..., None].expand(-1, -1, embedded.shape[2]))
        real = place >= begins  # [B, longest]
        prompt_ids = batch.token_ids.gather(1, moved)
        vocabulary = self._model.language.config.vocab_size
        seen = torch.zeros(len(inputs), vocabulary + 1, dtype=torch.bool, device=self._on)
        seen.scatter_(1, torch.where(real, prompt_ids, vocabulary), True)

        causal = place[:, None] >= place  # [longest, longest]
        # A place before a prompt sees itself, so that no row of the attention is empty.
        mask = (causal & real[:, None, :]) | torch.eye(longest, dtype=torch.bool, device=self._on)
        cache = DynamicCache(config=self._model.language.config)
        positions, drawn = moved, []
        finished = torch.zeros(len(inputs), dtype=torch.bool, device=self._on)
        for step in range(max_tokens):
            hidden = self._model.language.model(
                inputs_embeds=inputs,
                attention_mask={"full_attention": mask[:, None]},
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state[:, -1]
            logits = self._model.language.lm_head(hidden).float()
            token = draw(logits, seen[:, :vocabulary], sampling)
            drawn.append(token)
            seen.scatter_(1, token[:, None], True)
            finished |= token == self._examples.writer.special.turn_end
            if step % 16 == 15 and bool(finished.all()):
                break
            inputs = self._model.language.model.embed_tokens(token[:, None])
            positions = batch.starts[:, None] + step
            real = F.pad(real, (0, 1), value=True)
            mask = real[:, None, :]
        return torch.stack(drawn, 1)


def draw(logits: Tensor, seen: Tensor, sampling: Sampling) -> Tensor:
    """The next token of each row, as vLLM draws it.

    Args:
        logits: [B, vocabulary].
        seen: [B, vocabulary], true for what the prompt or the answer holds already.
        sampling: how.

    Returns:
        [B] int64.
    """
    penalty = sampling.repetition_penalty
    penalised = torch.where(logits > 0, logits / penalty, logits * penalty)
    logits = torch.where(seen, penalised, logits)
    if sampling.temperature == 0:
        return logits.argmax(-1)
    ordered, order = (logits / sampling.temperature).softmax(-1).sort(descending=True)
    ordered[ordered.cumsum(-1) - ordered >= sampling.top_p] = 0
    return order.gather(1, torch.multinomial(ordered, 1))[:, 0]


def save(model: Thinker, config: StepAudio2Config, vocabulary: Vocabulary, folder: Path) -> None:
    """Write the Thinker's part of a model directory: tokenizer, configuration and weights."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, vocabulary, max_tokens=config.text_config.max_position_embeddings)
    weights = model.published_weights()
    write_shards(
        folder,
        {name: value.shape for name, value in weights.items()},
        torch.bfloat16,
        weights.__getitem__,
        shard_bytes=SHARD_BYTES,
        on_progress=print,
    )
    generation = {
        "do_sample": True,
        "temperature": SPEECH_SAMPLING.temperature,
        "top_p": SPEECH_SAMPLING.top_p,
        "repetition_penalty": SPEECH_SAMPLING.repetition_penalty,
        "eos_token_id": vocabulary.eos_token_ids,
        "pad_token_id": vocabulary.ids["<|endoftext|>"],
    }
    _write_json(folder / "generation_config.json", generation)
    published = {**config.to_published_dict(), "transformers_version": "4.49.0"}
    _write_json(folder / "config.json", published)


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


def main(corpus: Path, out: Path, minutes: float, batch: int) -> None:
    """Train on `corpus` and on `out/codes.npy`; write `out/thinker` and `out/thinker_check.json`.

    `batch` counts examples, of about 200 tokens each.
    """
    seed_everything(0)
    recordings, codes = Corpus.open(corpus), Flat.codes(out)
    vocabulary = nano_vocabulary()
    config, tokenizer = nano_config(vocabulary), make_tokenizer(vocabulary)
    count = len(recordings.sentences)
    left_out = max(1, round(count * LEFT_OUT_SHARE))
    examples = Examples(recordings, codes, tokenizer, range(count - left_out))
    speech = recordings.speech_bank(device())
    model = Thinker(config).to(device())
    lessons = Lessons(model, examples, codes, speech, batch)
    recipe = Recipe(minutes=minutes, learning_rate=LEARNING_RATE)
    model.load_state_dict(train("thinker", model, lessons.losses, recipe, out))
    model.round_weights()
    save(model, config, vocabulary, out / "thinker")

    unheard = list(range(count - left_out, count))[-CHECKED_SENTENCES:]
    unseen = Examples(recordings, codes, tokenizer, unheard)
    model.eval()
    figures = check(Answerer(model, unseen, speech), unseen, codes, unheard)
    _write_json(out / "thinker_check.json", figures)
    print(json.dumps({k: v for k, v in figures.items() if not isinstance(v, list)}, indent=2))


def _roughen(samples: Tensor, lengths: Tensor) -> Tensor:
    """Gains of ±10 dB, and noise between white and pink, 10 to 60 dB below the speech or none.

    Args:
        samples: [A, N], zero past their ends.
        lengths: [A] samples.
    """
    count, width = samples.shape
    on = samples.device
    inside = torch.arange(width, device=on) < lengths[:, None]
    power = samples.square().sum(1) / lengths  # [A]
    spectrum = torch.fft.rfft(torch.randn_like(samples))
    bins = torch.arange(spectrum.shape[1], device=on).clamp(min=1).float()
    pinkness = torch.rand(count, 1, device=on) / 2  # of the amplitude: at most 1/√f
    noise = torch.fft.irfft(spectrum * bins**-pinkness, n=width)
    noise = noise / noise.square().mean(1, keepdim=True).sqrt()
    below_db = 10 + 50 * torch.rand(count, device=on)
    noise_level = (power * 10 ** (-below_db / 10)).sqrt()
    noise_level = noise_level * (torch.rand(count, device=on) >= NOISELESS_SHARE)
    gain = 10 ** ((torch.rand(count, 1, device=on) - 0.5) * 20 / 20)
    return ((samples + noise * noise_level[:, None]) * gain * inside).clamp(-1.0, 1.0)


def _free_utterances(corpus: Corpus, sentences: Sequence[int]) -> list[int]:
    """One utterance of each sentence, a free one where there is one."""
    found: dict[int, int] = {}
    for index, utterance in enumerate(corpus.utterances):
        if utterance.kind == "free" or utterance.sentence not in found:
            found[utterance.sentence] = index
    return [found[sentence] for sentence in sentences]


def _sinusoids(config: AudioEncoderConfig) -> Tensor:
    """[positions, C]: sines, then cosines, of periods from 2π to 2π · 10000 positions."""
    half = config.n_audio_state // 2
    rates = 10_000 ** -(torch.arange(half) / (half - 1))
    angles = torch.arange(config.n_audio_ctx)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


def _mean(values: Iterable[float]) -> float:
    return round(float(np.mean(list(values))), 4)


def _write_json(path: Path, values: Mapping[str, object]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
