"""Where a checkpoint's files lie: the layout of the published Step-Audio 2 repositories."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from deployments.errors import ConfigError
from deployments.model_checks import check_thinker, check_token2wav

logger = logging.getLogger(__name__)
SHIPPED = Path(__file__).parents[1]
"""The folder of this package and of `configs/`: a checkout, or where a wheel was installed."""

REPOSITORIES = (
    "stepfun-ai/Step-Audio-2-mini",
    "stepfun-ai/Step-Audio-2-mini-Base",
    "stepfun-ai/Step-Audio-2-mini-Think",
)
"""The published checkpoints of the family on Hugging Face."""

FAMILY = "stepfunai/stepaudio2"  # as `_letters` writes it


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model directory, complete or not."""

    root: Path
    repository: str | None = None  # on Hugging Face; `root` is in its cache

    @property
    def token2wav(self) -> Path:
        """The folder of the flow, the vocoder and the two ONNX models."""
        return self.root / "token2wav"

    def default_voices(self) -> list[Path]:
        """Default voice recordings that the checkpoint may bring, first choice first."""
        return [self.root / "assets" / "default_female.wav", self.root / "default_female.wav"]

    def require(
        self, *, thinker: bool = True, token2wav: bool = True, weights: bool = True
    ) -> None:
        """Check the files that the stages need: their headers and sizes, not every weight.

        Args:
            thinker: whether the Thinker runs.
            token2wav: whether Token2Wav runs.
            weights: whether vLLM reads the Thinker's weights; `load_format: dummy` makes them up.

        Raises:
            ConfigError: names the first file that is missing, cut, damaged or of another model.
        """
        try:
            if thinker:
                check_thinker(self.root, weights=weights)
            if token2wav:
                check_token2wav(self.token2wav)
        except ConfigError as error:
            if self.repository is None:
                raise
            raise ConfigError(
                f"{error}; `hf download {self.repository} --force-download` loads the model again"
            ) from error


def find_model(model: str) -> ModelFiles:
    """The files of `model`: a directory, or the name of a Hugging Face repository.

    A repository is downloaded once into the ordinary Hugging Face cache.

    Raises:
        ConfigError: there is neither such a directory nor such a repository.
    """
    path = find_path(model)
    if model and path.is_dir():
        return ModelFiles(path.resolve())
    looks_like_path = model.startswith((".", "/", "~")) or model.count("/") != 1
    if path.is_file():
        raise ConfigError(f"the model {model!r} is a file; it must be the folder around it")
    if looks_like_path or path.parent.is_dir():
        raise ConfigError(
            f"there is no model directory {model!r}; `step-audio2 make-checkpoint --size tiny "
            f"{model}` writes one with random weights"
        )
    repository = published_name(model)
    try:
        return ModelFiles(Path(snapshot_download(repository)), repository)
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(_not_downloaded(repository, error)) from error


def find_path(name: str | Path) -> Path:
    """The file or folder `name`: from here, or else from where `configs/` lies."""
    path = Path(os.path.expanduser(name))  # `~name` stays as it is where there is no such user
    shipped = SHIPPED / path
    return shipped if not path.exists() and shipped.exists() else path


def published_name(repository: str) -> str:
    """The published repository of which `repository` is another spelling, else `repository`."""
    same = [name for name in REPOSITORIES if _letters(name) == _letters(repository)]
    if not same or repository in same:
        return repository
    logger.warning("the repository %s is published as %s, which is taken", repository, same[0])
    return same[0]


def _not_downloaded(repository: str, error: Exception) -> str:
    if repository not in REPOSITORIES and _letters(repository).startswith(FAMILY):
        return f"no repository {repository} is to be had; the published one is {REPOSITORIES[0]}"
    reason = " ".join(str(error).split())  # the hub's own messages have several lines
    return f"the model {repository!r} cannot be downloaded: {reason}"


def _letters(repository: str) -> str:
    return repository.lower().replace("-", "").replace("_", "")
