"""A plan on the device: its tokens put together, its speech heard."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deployments.thinker.vllm_plugin.lengths import MEL_PADDING, mel_frames, num_embeddings
from tests.nano.augmentation import channel, roughened
from tests.nano.corpus.store import Bank
from tests.nano.log_mels import log_mels
from tests.nano.thinker_examples import SAMPLES_PER_CODE, Examples, Plan, up_to_multiple

SAMPLES_MULTIPLE = 16 * SAMPLES_PER_CODE  # few different shapes keep the allocator quiet


@dataclass(frozen=True)
class Batch:
    """A plan on the device. L is the width, N the answers' tokens."""

    plan: Plan
    token_ids: Tensor  # [B, L] int64; what stands behind an answer is no matter
    starts: Tensor  # [B] int64, where each answer begins
    at: Tensor  # [N] int64, places in the flattened [B, L] from which answers are predicted
    targets: Tensor  # [N] int64, the answers
    tasks: Tensor  # [N] int64, each answer token's task
    utterances: Tensor  # [A] int64
    lead: Tensor  # [A] int64, samples
    samples: Tensor  # [A] int64
    patches: Tensor  # [A] int64, where the first embedding of speech stands
    embeddings: Tensor  # [A] int64, how many there are

    @property
    def speech_width(self) -> int:
        """Samples of the longest recording, up to a multiple."""
        return up_to_multiple(int(self.plan.samples.max(initial=0)), SAMPLES_MULTIPLE)


class Tables:
    """Prompts and answers in the memory of a device, where batches are gathered from them."""

    def __init__(self, examples: Examples, device: torch.device) -> None:
        def move(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).to(device)

        self._special = examples.writer.special
        self._device = device
        self._prompt_ids = move(examples.prompts.values)
        self._prompt_starts = move(examples.prompts.starts)
        self._answer_ids = move(examples.answers.values)
        self._answer_starts = move(examples.answers.starts)
        self._patches = move(examples.patches)

    def batch(self, plan: Plan) -> Batch:
        """Put a plan's rows together, without waiting for the device."""
        rows, listening = len(plan.prompts), len(plan.utterances)
        table = np.zeros((6, rows), dtype=np.int64)
        table[:3] = plan.tasks, plan.prompts, plan.answers
        table[3:, :listening] = plan.utterances, plan.lead, plan.samples
        packed = torch.from_numpy(table)
        if self._device.type == "cuda":
            packed = packed.pin_memory()
        kinds, prompts, answers, utterances, lead, samples = packed.to(
            self._device, non_blocking=True
        )
        hears = torch.arange(rows, device=self._device) < listening
        embeddings = torch.where(hears, num_embeddings(mel_frames(samples)), 0)

        place = torch.arange(plan.width, device=self._device)  # [L]
        patch = torch.where(hears, self._patches[prompts], plan.width)[:, None]  # [B, 1]
        extra = torch.where(hears, embeddings + 1, 0)[:, None]
        prompt_length = _lengths(self._prompt_starts, prompts)[:, None]
        start = prompt_length + extra
        in_prompt = torch.where(place >= patch + extra, place - extra, place)
        in_prompt = torch.minimum(in_prompt, prompt_length - 1)
        in_answer = place - start
        answer_length = _lengths(self._answer_starts, answers)[:, None]
        prompt_ids = self._prompt_ids[self._prompt_starts[prompts][:, None] + in_prompt]
        answer_ids = self._answer_ids[
            self._answer_starts[answers][:, None]
            + torch.minimum(in_answer.clamp(min=0), answer_length - 1)
        ]
        token_ids = torch.where(in_answer >= 0, answer_ids, prompt_ids)
        special = self._special
        for inside, token in (
            ((place > patch) & (place <= patch + extra), special.audio_patch),
            (place == patch, special.audio_start),
            (hears[:, None] & (place == patch + extra), special.audio_end),
        ):
            token_ids = torch.where(inside, token, token_ids)
        row = torch.repeat_interleave(
            torch.arange(rows, device=self._device),
            answer_length[:, 0],
            output_size=plan.answer_tokens,  # known here: the device is not asked
        )  # [N]
        first = answer_length[:, 0].cumsum(0) - answer_length[:, 0]
        nth = torch.arange(plan.answer_tokens, device=self._device) - first[row]
        return Batch(
            plan=plan,
            token_ids=token_ids,
            starts=start[:, 0],
            at=row * plan.width + start[row, 0] - 1 + nth,
            targets=self._answer_ids[self._answer_starts[answers][row] + nth],
            tasks=kinds[row],
            utterances=utterances[:listening],
            lead=lead[:listening],
            samples=samples[:listening],
            patches=patch[:listening, 0] + 1,
            embeddings=embeddings[:listening],
        )


def _lengths(starts: Tensor, rows: Tensor) -> Tensor:
    return starts[rows + 1] - starts[rows]


class Ear:
    """Recordings → log-mels on the device, as `deployments.mel.log_mel_spectrogram` makes them."""

    def __init__(self, speech: Bank) -> None:
        self._speech = speech

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
            samples = roughened(samples, batch.samples)
            tilt = channel(len(samples), samples.device)
        return log_mels(samples, batch.samples, padding=MEL_PADDING, tilt=tilt)
