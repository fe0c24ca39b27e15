"""Logits that are not finite, made visible: the sampler would draw token 0 from them and go on."""

import torch
from torch import Tensor


def mark_non_finite(logits: Tensor, marker_id: int) -> Tensor:
    """Leave only `marker_id` to a row that holds a NaN or an infinity, and never to another row.

    The marker must be an id that no answer contains, such as the placeholder of a prompt's audio:
    an answer that contains it was drawn from logits that are not finite. Nothing is copied to the
    host, so a step does not wait for the check.

    Args:
        logits: [rows, vocabulary], changed in place.
    """
    broken = ~torch.isfinite(logits.sum(dim=-1, dtype=torch.float32))  # [rows]
    logits.masked_fill_(broken.unsqueeze(-1), float("-inf"))
    logits[:, marker_id].masked_fill_(~broken, float("-inf")).masked_fill_(broken, 0.0)
    return logits
