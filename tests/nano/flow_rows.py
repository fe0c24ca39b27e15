"""The served flow over whole rows at once, as training needs it.

The masks of a `Layout` hide what a stream would not have seen, so that what is trained is exactly
what `FlowSynthesizer.step` and `FlowSynthesizer.whole` will ask of it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployments.token2wav.functional import Flow
from deployments.token2wav.functional.cfm import HISTORY_TAIL_FRAMES
from deployments.token2wav.functional.conformer import LookaheadLayer, relative_positions
from deployments.token2wav.functional.dit import CONV_PAST

FRAMES = 2  # mel frames a token


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
            (part.int() * FRAMES).repeat_interleave(FRAMES, dim=1)
            for part in (self.begin, self.end)
        )
        at = torch.arange(begin.shape[1], device=begin.device, dtype=torch.int32)
        prompt = (self.first.int() * FRAMES)[:, None, None]
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
    past = x.new_zeros(len(x), x.shape[2], 2 * FRAMES)
    x, _ = encoder.up_layer(x, past, layout.lengths)
    x = _conform(encoder.up_encoders, encoder.up_embed(x), layout.hidden(FRAMES))
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
