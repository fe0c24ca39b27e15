"""Training the flow: codes, speaker embedding and prompt in, mel spectrogram out.

What is trained is the served module itself. `encode` and `velocity` run it over whole rows at once,
where the masks of a `Layout` hide what a stream would not have seen, so that it learns exactly what
`FlowSynthesizer.step` and `FlowSynthesizer.whole` will ask of it. The objective is conditional flow
matching on straight paths (https://arxiv.org/abs/2210.02747, section 4.1).
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployments.chunker import Chunk, Chunker, ChunkSchedule
from deployments.mel import mel_filterbank
from deployments.token2wav.model import Flow, FlowInput, FlowSynthesizer, load_flow
from deployments.token2wav.model.cfm import HISTORY_TAIL_FRAMES
from deployments.token2wav.model.dit import CONV_PAST
from deployments.token2wav.model.encoder import LookaheadLayer, relative_positions
from tests.nano.corpus.store import Corpus
from tests.nano.sizes import FLOW, SOUND_RATE_HZ
from tests.nano.training import Recipe, device, seed_everything, train

LEARNING_RATE = 1e-3
SIGMA_MIN = 1e-6  # what is left of the noise at the end of a path
FREE_SHARE = 0.2  # of the rows are trained without any condition, for the guidance
KNOWN_FRAME_WEIGHT = 0.1  # of frames whose mel the condition tells
PROMPTED_SHARE = 0.7  # of the rows have other recordings of the voice in front
LONGER_SHARE = 0.25  # of prompts and of targets are two recordings, so that long rows are known
CUT_SHARE = 0.5  # of the prompts' recordings are cut, to no less than …
SHORTEST_CUT = 25  # tokens: 1 s, the shortest prompt that is served
LONGEST_TOKENS = 250  # of a recording: 10 s; a longer one is always cut
WHOLE_SHARE = 0.25  # of the rows are not cut into chunks
CHUNK_TOKENS = (8, 25)  # smallest and largest chunk of a stream
DONOR_SHARE = 0.3  # of the targets that can have another speaker's codes do
DONOR_TOLERANCE = 0.02  # by which an aligned rendition's length may differ
PITCH_TOLERANCE = 3  # between an utterance and its prompt, in eSpeak's units
WIDTH_STEP = 32  # rows are padded to multiples of so many tokens, so that few shapes occur
SORTED_BATCHES = 32  # so many are drawn together and sorted by length, to pad little
HELD_OUT_OF = 100  # one sentence in so many
CHECKED = 8

_FRAMES = 2  # mel frames a token
_N_FFT, _HOP = 1920, 480
_MEL_BATCH = 4096  # tokens whose spectra are computed at once


# --- The corpus as the flow sees it ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Recordings:
    """All utterances, one behind the other, token by token. Tensors lie on the device."""

    codes: Tensor  # [total] int64
    mel: Tensor  # [total, 2, 80] float16: the two frames of each token
    embeddings: Tensor  # [utterances, 192]
    starts: np.ndarray  # [utterances + 1] int64, of the codes

    @classmethod
    def load(cls, corpus: Corpus, out: Path, where: torch.device) -> "Recordings":
        """The corpus with what the earlier parts wrote to `out`."""
        starts = np.load(out / "codes_starts.npy").astype(np.int64)
        codes = torch.from_numpy(np.load(out / "codes.npy").astype(np.int64))
        embeddings = torch.from_numpy(np.load(out / "embeddings.npy").astype(np.float32))
        mel = mel_of_codes(corpus, starts, where)
        return cls(codes.to(where), mel, embeddings.to(where), starts)

    @property
    def counts(self) -> np.ndarray:
        """[utterances] tokens of each."""
        return np.diff(self.starts)

    def utterance(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Codes [n], speaker embedding [192], mel [2n, 80] float32."""
        part = slice(int(self.starts[index]), int(self.starts[index + 1]))
        return self.codes[part], self.embeddings[index], self.mel[part].flatten(0, 1).float()


def mel_of_codes(corpus: Corpus, starts: np.ndarray, where: torch.device) -> Tensor:
    """`voice_mel_spectrogram` of every utterance, made two frames a code. [codes, 2, 80] float16

    Each frame is cut out of the flat sound by itself and reflected at its own utterance's ends, so
    that utterances of any length share a batch. Half precision is off by 0.004 at most.
    """
    mel = torch.empty(int(starts[-1]), _FRAMES, FLOW.output_size, dtype=torch.float16, device=where)
    counts = np.diff(starts)
    first = 0
    while first < len(counts):
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + _MEL_BATCH)) - 1)
        begin, end = corpus.sound_starts[first], corpus.sound_starts[last]
        samples = torch.from_numpy(corpus.sound[begin:end].astype(np.int16)).to(where)
        offsets = corpus.sound_starts[first : last + 1] - begin
        owner, frame = _frames_of(counts[first:last], np.diff(offsets) // _HOP)
        cut = samples.float().div_(32768.0)[
            _frame_positions(
                torch.from_numpy(frame).to(where),
                torch.from_numpy(offsets[:-1][owner]).to(where),
                torch.from_numpy(np.diff(offsets)[owner]).to(where),
            )
        ]
        mel[int(starts[first]) : int(starts[last])] = _log_mel(cut).half().unflatten(0, (-1, 2))
        first = last
    return mel


def _frames_of(counts: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Utterance and frame number of each code's two frames; the last frame is repeated."""
    wanted = _FRAMES * counts
    owner = np.repeat(np.arange(len(counts)), wanted)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(wanted) - wanted, wanted)
    return owner, np.minimum(number, frames[owner] - 1)


def _frame_positions(frame: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """Where the samples of each frame [F] lie, in an utterance of `length` from `start` on.

    Returns:
        [F, 1920]; what is before the first or past the last sample is reflected.
    """
    edge = (_N_FFT - _HOP) // 2
    at = frame[:, None] * _HOP - edge + torch.arange(_N_FFT, device=frame.device)
    at = at.abs_()
    end = length[:, None] - 1
    return torch.where(at > end, 2 * end - at, at) + start[:, None]


def _log_mel(frames: Tensor) -> Tensor:
    """[F, 1920] samples -> [F, 80], as `deployments.mel.voice_mel_spectrogram`."""
    spectrum = torch.fft.rfft(frames * torch.hann_window(_N_FFT, device=frames.device))
    magnitude = torch.sqrt(torch.view_as_real(spectrum).pow(2).sum(-1) + 1e-9)
    filters = mel_filterbank(SOUND_RATE_HZ, _N_FFT, FLOW.output_size, 8000.0).to(frames.device)
    return (magnitude @ filters.T).clamp(min=1e-5).log()


# --- The served module over whole rows ------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """How each row's tokens fall into chunks.

    A stream's first chunk is its prompt; a row that is not streamed is one chunk. Padding has no
    chunk of its own: it sees its whole row, so that no softmax is empty, and nothing sees it.
    """

    lengths: Tensor  # [B] tokens
    begin: Tensor  # [B, n] first token of each token's chunk
    end: Tensor  # [B, n] one past the last token of each token's chunk

    @classmethod
    def of(cls, chunks: Tensor, lengths: Tensor, width: int) -> "Layout":
        """Rows of `lengths` [B] tokens in chunks of `chunks` [B, K] tokens, which cover them.

        What chunks have past the row's end is cut off.
        """
        ends = torch.minimum(chunks.cumsum(1), lengths[:, None])
        at = torch.arange(width, device=lengths.device).expand(len(lengths), -1).contiguous()
        chunk = torch.searchsorted(ends, at, right=True).clamp_(max=ends.shape[1] - 1)
        inside = at < lengths[:, None]
        begin = F.pad(ends, (1, 0)).gather(1, chunk) * inside
        return cls(lengths, begin, torch.where(inside, ends.gather(1, chunk), lengths[:, None]))

    @property
    def first(self) -> Tensor:
        """[B] tokens of the first chunk."""
        return self.end[:, 0]

    def hidden(self, stride: int) -> Tensor:
        """What the encoder does not see, at `stride` frames a token. [B, 1, t, t] bool"""
        end = (self.end * stride).repeat_interleave(stride, dim=1)
        at = torch.arange(end.shape[1], device=end.device)
        return (at >= end[:, :, None])[:, None]

    def visible(self) -> Tensor:
        """What the DiT sees: the encoder's view, trimmed as `cfm.trim` does. [B, 1, 2n, 2n] bool

        Before a chunk, once more than 100 frames follow the prompt of P frames, the history keeps
        its first P frames, the newest chunk first, and its last 100.
        """
        begin, end = (
            (part.int() * _FRAMES).repeat_interleave(_FRAMES, dim=1)
            for part in (self.begin, self.end)
        )
        at = torch.arange(begin.shape[1], device=begin.device, dtype=torch.int32)
        prompt = (self.first.int() * _FRAMES)[:, None, None]
        now = begin[:, :, None]  # of the query: where its chunk begins
        newest_first = now + (at - begin - end)[:, None, :]  # place of each key in the history
        oldest_first = (begin + end - 1 - at)[:, None, :]
        kept = (newest_first < prompt) | (oldest_first < HISTORY_TAIL_FRAMES)
        kept |= (at >= now) | (now - prompt <= HISTORY_TAIL_FRAMES)
        return (kept & (at < end[:, :, None]))[:, None]


def encode(flow: Flow, codes: Tensor, layout: Layout) -> Tensor:
    """Encoder output of whole rows. [B, n] int64 -> [B, 2n, 80]"""
    encoder = flow.encoder
    x = encoder.embed(flow.input_embedding(codes))
    x = _look_ahead(encoder.pre_lookahead_layer, x, layout)
    x = _conform(encoder.encoders, x, layout.hidden(1))
    past = x.new_zeros(len(x), x.shape[2], 2 * _FRAMES)
    x, _ = encoder.up_layer(x, past, layout.lengths)
    x = _conform(encoder.up_encoders, encoder.up_embed(x), layout.hidden(_FRAMES))
    return flow.encoder_proj(encoder.after_norm(x))


def _look_ahead(layer: LookaheadLayer, x: Tensor, layout: Layout) -> Tensor:
    """The lookahead layer over whole rows [B, n, C].

    Past a row's end there are zeros. A stream's prompt is encoded before what follows it is known:
    its own first tokens stand in, see `FlowSynthesizer.prepare`.
    """
    own = torch.arange(x.shape[1], device=x.device)[:, None]
    seen = own + torch.arange(layer.lookahead + 1, device=x.device)  # [n, 4]
    first, lengths = layout.first[:, None, None], layout.lengths[:, None, None]
    stands_in = (own < first) & (seen >= first) & (first < lengths)
    index = torch.where(stands_in, seen - first, seen)  # [B, n, 4]
    index = torch.where(index < lengths, index, x.shape[1])
    row = torch.arange(len(x), device=x.device)[:, None, None]
    windows = F.pad(x, (0, 0, 0, 1))[row, index].flatten(2)  # [B, n, 4C]
    kernel = layer.conv1.weight.transpose(1, 2).flatten(1)
    ahead = F.leaky_relu(F.linear(windows, kernel, layer.conv1.bias)).transpose(1, 2)
    return layer.conv2(F.pad(ahead, (2, 0))).transpose(1, 2) + x


def _conform(layers: nn.ModuleList, x: Tensor, hidden: Tensor) -> Tensor:
    # Their table is cached, perhaps by a synthesis in inference mode, which autograd cannot keep.
    positions = relative_positions(x.shape[1], x.shape[1], x.shape[2], like=x).clone()
    heads = layers[0].self_attn.heads
    past = x.new_zeros(len(x), heads, 0, 2 * x.shape[2] // heads)
    for layer in layers:
        x, _ = layer(x, positions, past, hidden)
    return x


def velocity(
    flow: Flow, x: Tensor, context: Tensor, times: Tensor, lengths: Tensor, visible: Tensor
) -> Tensor:
    """The DiT's estimate over whole rows, each at its own time.

    Args:
        flow: whose DiT it is.
        x: [B, t, 80] on the way from noise to mel.
        context: [B, t, 240] from `context_of`.
        times: [B] 0 … 1.
        lengths: [B] frames.
        visible: [B, 1, t, t] bool, from `Layout.visible`.

    Returns:
        [B, t, 80]
    """
    dit = flow.decoder.estimator
    config = dit.config
    with torch.autocast(x.device.type, enabled=False):  # bf16 would round 1 + scale to 0.4 %
        modulation = dit.modulation(times)
    # A timestep a row: [B, 1, C] where the served model has [C] for all.
    blocks = modulation.blocks.permute(1, 2, 0, 3)[:, :, :, None]  # [depth, 9, B, 1, C]
    final = modulation.final.transpose(0, 1)[:, :, None]  # [2, B, 1, C]
    conv = x.new_zeros(len(x), config.depth, 2 * config.hidden_size, CONV_PAST)
    history = x.new_zeros(len(x), config.depth, config.num_heads, 0, 2 * config.head_dim)
    inputs = torch.cat((x, context), dim=-1)
    return dit(inputs, blocks, final, conv, history, lengths, visible)[0]


def context_of(mu: Tensor, speaker: Tensor, condition: Tensor) -> Tensor:
    """What the DiT gets beside x: [B, t, 80], [B, 80], [B, t, 80] -> [B, t, 240]"""
    return torch.cat((mu, speaker[:, None].expand_as(mu), condition), dim=-1)


def project_speakers(flow: Flow, embeddings: Tensor) -> Tensor:
    """`Flow.project_speaker` of [B, 192]."""
    return flow.spk_embed_affine_layer(F.normalize(embeddings, dim=1))


# --- Examples -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows of prompt and target, one behind the other."""

    codes: Tensor  # [B, n] int64
    mel: Tensor  # [B, 2n, 80] float32
    embeddings: Tensor  # [B, 192] of the prompts
    known: Tensor  # [B] tokens at the front whose mel is told
    layout: Layout


class Partners:
    """Which utterances go together, as prompts and as renditions of one sentence."""

    def __init__(self, corpus: Corpus, counts: np.ndarray, prompts: np.ndarray) -> None:
        """`counts` are the utterances' tokens, `prompts` the utterances that may be prompts."""
        self._voice = np.array([1000 * u.speaker + u.pitch for u in corpus.utterances])
        self._prompts = prompts[np.argsort(self._voice[prompts], kind="stable")]
        self.donor = _donors(corpus, counts)  # [utterances], -1: none

    def prompts(self, chosen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Of each utterance [B], another of its voice; -1: none is, or it was drawn itself."""
        voice, known = self._voice[chosen], self._voice[self._prompts]
        low = np.searchsorted(known, voice - PITCH_TOLERANCE, side="left")
        high = np.searchsorted(known, voice + PITCH_TOLERANCE, side="right")
        drawn = rng.integers(low, np.maximum(high, low + 1)).clip(max=len(known) - 1)
        found = self._prompts[drawn]
        return np.where((high > low) & (found != chosen), found, -1)


def _donors(corpus: Corpus, counts: np.ndarray) -> np.ndarray:
    """Of each utterance, one of its sentence by another speaker and as long, or -1."""
    donors = np.full(len(counts), -1)
    said: dict[int, list[int]] = {}
    for index, utterance in enumerate(corpus.utterances):
        if utterance.kind == "standard":
            said.setdefault(utterance.sentence, []).append(index)
    for group in said.values():
        for one, other in zip(group, group[1:] + group[:1], strict=True):
            alike = abs(counts[one] - counts[other]) <= max(1, DONOR_TOLERANCE * counts[one])
            if corpus.utterances[one].speaker != corpus.utterances[other].speaker and alike:
                donors[one] = other
    return donors


@dataclass(frozen=True, slots=True)
class Plan:
    """What rows are made of: parts of utterances, of which the first `_PROMPTS` are the prompt."""

    utterance: np.ndarray  # [B, parts]
    offset: np.ndarray  # [B, parts] tokens of the utterance before the part
    count: np.ndarray  # [B, parts] tokens, 0: no such part
    donor: np.ndarray  # [B, parts] utterance whose codes are taken
    told: np.ndarray  # [B] utterance whose speaker embedding is given
    known: np.ndarray  # [B] tokens at the front whose mel is told
    first: np.ndarray  # [B] tokens of the first chunk

    @property
    def lengths(self) -> np.ndarray:
        """[B] tokens"""
        return self.count.sum(1)

    def rows(self, chosen: np.ndarray) -> "Plan":
        """Some of the rows."""
        return Plan(*(getattr(self, field.name)[chosen] for field in fields(self)))


_PROMPTS, _PARTS = 2, 4


class Examples:
    """Draws batches: what goes where is decided on the CPU, gathered on the device."""

    def __init__(self, recordings: Recordings, partners: Partners, seed: int) -> None:
        self._recordings = recordings
        self._partners = partners
        self._rng = np.random.default_rng(seed)

    def batches(self, utterances: np.ndarray, size: int) -> Iterator[Batch]:
        """Endless batches of `size` rows of about one length; every pass has all utterances."""
        if size > len(utterances):
            raise ValueError(f"{len(utterances)} utterances make no batch of {size}")
        while True:
            order = self._rng.permutation(utterances)[: len(utterances) // size * size]
            for begin in range(0, len(order), SORTED_BATCHES * size):
                plan = self.plan(order[begin : begin + SORTED_BATCHES * size])
                together = plan.lengths.argsort(kind="stable").reshape(-1, size)
                for chosen in self._rng.permutation(together):
                    yield self.gather(plan.rows(chosen))

    def plan(self, chosen: np.ndarray) -> Plan:
        """One row for each of the utterances [B]."""
        rng, counts, prompts = self._rng, self._recordings.counts, self._partners.prompts
        size = len(chosen)
        prompt = np.where(rng.random(size) < PROMPTED_SHARE, prompts(chosen, rng), -1)
        prompted = prompt >= 0
        longer = rng.random((2, size)) < LONGER_SHARE
        more_prompt = np.where(longer[0] & prompted, prompts(chosen, rng), -1)
        more_target = np.where(longer[1], prompts(chosen, rng), -1)
        parts = np.stack((prompt, more_prompt, chosen, more_target), axis=1)
        utterance = np.where(parts >= 0, parts, chosen[:, None])
        there = counts[utterance]
        cut = rng.integers(np.minimum(SHORTEST_CUT, there), there, endpoint=True)
        is_cut = (rng.random(parts.shape) < CUT_SHARE) & (np.arange(_PARTS) < _PROMPTS)
        count = np.where(is_cut, cut, there).clip(max=LONGEST_TOKENS) * (parts >= 0)

        donor = self._partners.donor[utterance]
        may = (donor >= 0) & (np.arange(_PARTS) >= _PROMPTS)  # a prompt's codes are its own
        lent = may & (rng.random(parts.shape) < DONOR_SHARE)

        # Without a prompt the target's own beginning takes its place, told or not.
        length = count.sum(1)
        beginning = np.maximum(4, (length * rng.uniform(0.1, 0.5, size)).astype(np.int64))
        front = np.where(prompted, count[:, :_PROMPTS].sum(1), np.minimum(beginning, length))
        return Plan(
            utterance=utterance,
            offset=rng.integers(0, there - count, endpoint=True),
            count=count,
            donor=np.where(lent, donor, utterance),
            told=np.where(prompted, prompt, chosen),
            known=front * (prompted | (rng.random(size) < 0.5)),
            first=np.where(rng.random(size) < WHOLE_SHARE, length, front),
        )

    def gather(self, plan: Plan) -> Batch:
        """What is planned, padded to a common width."""
        recordings = self._recordings
        where = recordings.codes.device
        width = -(-int(plan.lengths.max()) // WIDTH_STEP) * WIDTH_STEP
        smallest, largest = CHUNK_TOKENS
        more = (len(plan.first), width // smallest)
        sizes = self._rng.integers(smallest, largest, more, endpoint=True)

        def on_device(*columns: np.ndarray) -> Tensor:
            return torch.from_numpy(np.stack(columns).astype(np.int64)).to(where, non_blocking=True)

        counts, starts = recordings.counts, recordings.starts
        table = on_device(
            plan.count,
            plan.offset,
            starts[plan.utterance],
            counts[plan.utterance],
            starts[plan.donor],
            counts[plan.donor],
        )  # [6, B, parts]
        lengths, told, known = on_device(plan.lengths, plan.told, plan.known)
        chunks = on_device(*np.column_stack((plan.first, sizes)))  # [B, K]
        ends = table[0].cumsum(1)
        at = torch.arange(width, device=where).expand(len(ends), -1).contiguous()
        part = torch.searchsorted(ends, at, right=True).clamp_(max=_PARTS - 1)  # [B, n]
        begin = (ends - table[0]).gather(1, part)
        _, offset, start, count, donor_start, donor_count = (c.gather(1, part) for c in table)
        place = at - begin + offset  # of each token in its utterance
        # The middle of a token here is in which token of the other rendition?
        lent = (2 * place + 1) * donor_count // (2 * count)
        last = len(recordings.codes) - 1  # padding may run past the end of all
        return Batch(
            codes=recordings.codes[(donor_start + lent).clamp_(max=last)],
            mel=recordings.mel[(start + place).clamp_(max=last)].flatten(1, 2).float(),
            embeddings=recordings.embeddings[told],
            known=known,
            layout=Layout.of(chunks, lengths, width),
        )


# --- Losses ---------------------------------------------------------------------------------------


class FlowLosses:
    """The losses of one batch after the other, for `training.train`."""

    def __init__(self, flow: Flow, batches: Iterator[Batch]) -> None:
        self._flow = flow
        self._batches = batches

    def __call__(self, step: int, done: float) -> dict[str, Tensor]:
        return losses_of(self._flow, next(self._batches))


def losses_of(flow: Flow, batch: Batch) -> dict[str, Tensor]:
    """Flow matching, and how far the encoder's output alone is from the mel.

    The second, which the published objective lacks, teaches the encoder within seconds what a code
    sounds like; the flow then has the voice and the detail left to learn.
    """
    mel, lengths = batch.mel, _FRAMES * batch.layout.lengths
    where, size = mel.device, len(mel)
    frame = torch.arange(mel.shape[1], device=where)
    inside = (frame < lengths[:, None]).float()  # [B, t]
    known = (frame < _FRAMES * batch.known[:, None]).float()
    times = 1 - torch.cos(torch.rand(size, device=where) * (math.pi / 2))
    noise = torch.randn_like(mel)
    along = times[:, None, None]
    x = (1 - (1 - SIGMA_MIN) * along) * noise + along * mel
    conditioned = (torch.rand(size, device=where) >= FREE_SHARE).float()[:, None, None]

    with torch.autocast(where.type, torch.bfloat16, enabled=where.type == "cuda"):
        mu = encode(flow, batch.codes, batch.layout).float()
        speaker = project_speakers(flow, batch.embeddings)
        context = conditioned * context_of(mu, speaker, mel * known[:, :, None])
        estimate = velocity(flow, x, context, times, lengths, batch.layout.visible()).float()

    error = (estimate - (mel - (1 - SIGMA_MIN) * noise)).pow(2).mean(-1)  # [B, t]
    # What is told need not be found out; without a condition nothing is told.
    weight = inside * (1 - (1 - KNOWN_FRAME_WEIGHT) * known * conditioned[:, :, 0])
    matching = (error * weight).sum() / weight.sum()
    encoded = ((mu - mel).abs().mean(-1) * inside).sum() / inside.sum()
    return {"loss": matching + encoded, "matching": matching.detach(), "mu_l1": encoded.detach()}


def new_flow(mean: Tensor) -> Flow:
    """An untrained flow whose output is the mean mel [80], and whose parts start at their scale."""
    flow = Flow(FLOW)
    encoder, dit = flow.encoder, flow.decoder.estimator
    for embedding in (encoder.embed, encoder.up_embed):
        # Unit size instead of the square root of the width, beside which no layer would count.
        nn.init.constant_(embedding.out[1].weight, 1 / embedding.scale)
    nn.init.normal_(flow.spk_embed_affine_layer.weight)  # of a unit vector: unit size
    with torch.no_grad():
        flow.encoder_proj.bias.copy_(mean)
        for block in dit.blocks:
            nn.init.zeros_(block.adaLN_modulation[1].weight)
            nn.init.zeros_(block.adaLN_modulation[1].bias)
        nn.init.zeros_(dit.final_layer.adaLN_modulation[1].weight)
        nn.init.zeros_(dit.final_layer.adaLN_modulation[1].bias)
        nn.init.normal_(dit.final_layer.linear.weight, std=0.02)
        dit.final_layer.linear.bias.copy_(mean)  # the mean of mel - noise
        noisy, mu = dit.in_proj.weight[:, : 2 * len(mean)].chunk(2, dim=1)
        dit.in_proj.bias.copy_(-(noisy @ mean / 2 + mu @ mean))  # mels are around -6: centre them
    return flow


# --- Running --------------------------------------------------------------------------------------


def main(corpus: Path, out: Path, minutes: float, batch: int) -> None:
    """Train on `corpus` and the codes and embeddings in `out`.

    Writes `flow.pt`, `flow.yaml` and `flow_check.json` to `out`.

    Args:
        corpus: folder of a `Corpus`.
        out: folder, which holds `codes.npy`, `codes_starts.npy` and `embeddings.npy`.
        minutes: of training; loading and the check take some seconds more.
        batch: utterances a step.
    """
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    where = device()
    recipe = Recipe(minutes=minutes, learning_rate=LEARNING_RATE)
    seed_everything(recipe.seed)
    data = Corpus.open(corpus)
    recordings = Recordings.load(data, out, where)
    held_out = held_out_utterances(data)
    trained_on = np.setdiff1d(np.arange(len(data.utterances)), held_out)
    partners = Partners(data, recordings.counts, prompts=trained_on)
    examples = Examples(recordings, partners, recipe.seed)
    flow = new_flow(mean_mel(recordings).cpu()).to(where)
    losses = FlowLosses(flow, examples.batches(trained_on, min(batch, len(trained_on))))
    save_flow(train("flow", flow, losses, recipe, out), out)
    standard = [index for index in held_out if data.utterances[index].kind == "standard"]
    check(recordings, partners, standard[:CHECKED], out)


def held_out_utterances(corpus: Corpus) -> np.ndarray:
    """Utterances of the last hundredth of the sentences; they are not trained on."""
    first = len(corpus.sentences) - max(1, len(corpus.sentences) // HELD_OUT_OF)
    return np.flatnonzero([u.sentence >= first for u in corpus.utterances])


def mean_mel(recordings: Recordings) -> Tensor:
    """[80] float32, of up to 100 000 tokens all over the corpus."""
    step = max(1, len(recordings.mel) // 100_000)
    return recordings.mel[::step].float().mean((0, 1))


def save_flow(weights: Mapping[str, Tensor], out: Path) -> None:
    """`flow.pt` in half precision and `flow.yaml`, as `load_flow` reads them."""
    out.mkdir(parents=True, exist_ok=True)
    torch.save({key: value.half() for key, value in weights.items()}, out / "flow.pt")
    (out / "flow.yaml").write_text(FLOW.to_yaml())


def check(
    recordings: Recordings, partners: Partners, utterances: Sequence[int], out: Path
) -> dict[str, float]:
    """Synthesise utterances by `out/flow.pt` as the server does; write and return how it fares.

    Each is prompted by another recording of its voice. Distances are means of absolute
    differences of log-mels; `mean_mel_l1` is that of a mel that never changes.
    """
    flow = load_flow(out).to(recordings.mel.device)
    synthesizer = FlowSynthesizer(flow, seed=0)
    rng = np.random.default_rng(0)
    mean = mean_mel(recordings)
    rows = []
    for index in utterances:
        codes, _, mel = recordings.utterance(index)
        prompt = int(partners.prompts(np.array([index]), rng)[0])
        told, embedding, shown = recordings.utterance(prompt if prompt >= 0 else index)
        whole = synthesizer.whole(codes, told, embedding, shown)
        streamed = stream(synthesizer, codes, told, embedding, shown)
        row = {
            "whole_l1": whole - mel,
            "streamed_l1": streamed - mel,
            "whole_streamed_l1": whole - streamed,
            "whole_bias": (whole - mel).mean(0),
            "mean_mel_l1": mean - mel,
        }
        donor = int(partners.donor[index])
        if donor >= 0:  # the same words in another's codes must not bring the other's voice
            lent, _, others = recordings.utterance(donor)
            converted = synthesizer.whole(lent, told, embedding, shown)
            frames = min(len(converted), len(mel))
            row["converted_to_own_l1"] = converted[:frames] - mel[:frames]
            row["converted_to_donor_l1"] = converted[:frames] - others[:frames]
        rows.append({key: float(value.abs().mean()) for key, value in row.items()})
    keys = dict.fromkeys(key for row in rows for key in row)
    means = {key: float(np.mean([row[key] for row in rows if key in row])) for key in keys}
    report = {"utterances": len(rows)} | {key: round(value, 4) for key, value in means.items()}
    (out / "flow_check.json").write_text(json.dumps(report, indent=2) + "\n")
    print("flow", *(f"{key} {value:g}" for key, value in report.items()), flush=True)
    return means


def stream(
    synthesizer: FlowSynthesizer, tokens: Tensor, codes: Tensor, embedding: Tensor, mel: Tensor
) -> Tensor:
    """Synthesise in the server's chunks; the arguments are those of `FlowSynthesizer.whole`."""
    state = synthesizer.prepare(codes, embedding, mel)
    chunker = Chunker(ChunkSchedule())
    chunks: list[Chunk | None] = [*chunker.push(tokens.tolist()), chunker.finish()]
    made = []
    for chunk in chunks:
        if chunk is not None:
            row = FlowInput(torch.tensor(chunk.tokens), last=chunk.last, state=state)
            (frames,), (state,) = synthesizer.step([row])
            made.append(frames)
    return torch.cat(made)
