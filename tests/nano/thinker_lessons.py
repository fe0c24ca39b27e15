"""What the Thinker's training minimises: surprise at the answers, and at first help to hear."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deployments.thinker.vllm_plugin.lengths import mel_frames, num_embeddings
from tests.nano.corpus.store import Bank
from tests.nano.flat import Flat
from tests.nano.sizes import ACTIVE_DIGITS, CODE_LEVELS, USED_CODES
from tests.nano.thinker_batches import Batch, Ear, Tables
from tests.nano.thinker_examples import SAMPLES_PER_CODE, SPOKEN, Examples, Task
from tests.nano.thinker_model import Thinker
from tests.nano.training import device

CORRUPTED_SHARE = 0.08  # of the codes that the model reads back: it must survive its own mistakes
HEARING_WEIGHT = 0.5  # at first; the help that hearing gets fades out


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
        self._ear = Ear(speech)
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
