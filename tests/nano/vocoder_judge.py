"""The vocoder's adversary, a small discriminator of spectrograms.

Several resolutions, after W. Jang et al., https://arxiv.org/abs/2106.07889.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.nano.vocoder_spectra import magnitudes

_JUDGE_SIZES = (512, 1024, 2048)


class Judge(nn.Module):
    """Tells true from made spectrograms at three resolutions, in small patches."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_patches(channels) for _ in _JUDGE_SIZES)

    def forward(self, samples: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Of [B, N] the verdicts (1: true) and the inner features, from all scales."""
        verdicts, features = [], []
        for n_fft, layers in zip(_JUDGE_SIZES, self.scales, strict=True):
            x = magnitudes(samples, n_fft).log()[:, None] / 4 + 1  # [B, 1, bins, T], about ±1
            for layer in layers[:-1]:
                x = F.leaky_relu(layer(x), 0.1)
                features.append(x)
            verdicts.append(layers[-1](x))
        return verdicts, features


def _patches(channels: int) -> nn.ModuleList:
    """Convolutions over [bins, T] that halve the bins four times."""
    halving = [nn.Conv2d(channels, channels, (9, 3), (2, 1), (4, 1)) for _ in range(3)]
    first = nn.Conv2d(1, channels, (9, 3), (2, 1), (4, 1))
    last = [nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, 1, 3, padding=1)]
    return nn.ModuleList([first, *halving, *last])


class Adversary:
    """The judge and its own optimizer: learns in the same step in which it is asked."""

    def __init__(self, where: torch.device) -> None:
        self.judge = Judge().to(where)
        self._optimizer = torch.optim.AdamW(
            self.judge.parameters(), betas=(0.8, 0.99), fused=where.type == "cuda"
        )

    def save(self, path: Path) -> None:
        """For a slice of training that comes later."""
        states = {"judge": self.judge.state_dict(), "optimizer": self._optimizer.state_dict()}
        torch.save(states, path)

    def load(self, path: Path) -> None:
        """What `save` wrote."""
        states = torch.load(path, map_location="cpu", weights_only=True)
        self.judge.load_state_dict(states["judge"])
        self._optimizer.load_state_dict(states["optimizer"])

    def losses(self, made: Tensor, true: Tensor, rate: float) -> dict[str, Tensor]:
        """One step of the judge at learning rate `rate`, then what the vocoder must answer to.

        Least squares (https://arxiv.org/abs/1611.04076) and distances of the inner features.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        count = len(true)
        verdicts, _ = self.judge(torch.cat((true, made.detach())))
        own = sum(((v[:count] - 1) ** 2).mean() + (v[count:] ** 2).mean() for v in verdicts)
        self._optimizer.zero_grad(set_to_none=True)
        own.backward()
        self._optimizer.step()
        with _frozen(self.judge):
            with torch.no_grad():
                _, wanted = self.judge(true)
            verdicts, features = self.judge(made)
        pairs = zip(features, wanted, strict=True)
        return {
            "judge": own.detach(),
            "fooling": torch.stack([((v - 1) ** 2).mean() for v in verdicts]).mean(),
            # relative, so that a judge cannot enlarge it by enlarging its features
            "matching": torch.stack(
                [F.l1_loss(x, y) / y.abs().mean().clamp(min=1e-5) for x, y in pairs]
            ).mean(),
        }


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Gradients pass through `module`, not into it."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
