"""Where a checkpoint's files lie: the layout of the published Step-Audio 2 repositories."""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from deployments.errors import ConfigError

THINKER_FILES = ("config.json", "tokenizer_config.json")
TOKEN2WAV_FILES = (
    "speech_tokenizer_v2_25hz.onnx",
    "campplus.onnx",
    "flow.yaml",
    "flow.pt",
    "hift.pt",
)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A complete model directory."""

    root: Path

    @property
    def token2wav(self) -> Path:
        """The folder of the flow, the vocoder and the two ONNX models."""
        return self.root / "token2wav"

    def default_voices(self) -> list[Path]:
        """Default voice recordings that the checkpoint may bring, first choice first."""
        return [self.root / "assets" / "default_female.wav", self.root / "default_female.wav"]

    def require(self, *, thinker: bool = True, token2wav: bool = True) -> None:
        """Raise ConfigError that names the first file which a stage needs and is not there."""
        wanted = [self.root / name for name in THINKER_FILES] if thinker else []
        wanted += [self.token2wav / name for name in TOKEN2WAV_FILES] if token2wav else []
        for path in wanted:
            if not path.is_file():
                raise ConfigError(f"the model directory lacks {path}")


def find_model(model: str) -> ModelFiles:
    """The files of `model`: a directory, or the name of a Hugging Face repository.

    A repository is downloaded once into the ordinary Hugging Face cache.

    Raises:
        ConfigError: there is neither such a directory nor such a repository.
    """
    path = Path(model).expanduser()
    if model and path.is_dir():
        return ModelFiles(path.resolve())
    looks_like_path = model.startswith((".", "/", "~")) or model.count("/") != 1
    if looks_like_path or path.parent.is_dir():
        raise ConfigError(
            f"there is no model directory {model!r}; `step-audio2 make-checkpoint --size tiny "
            f"{model}` writes one with random weights"
        )
    try:
        return ModelFiles(Path(snapshot_download(model)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(f"the model {model!r} cannot be downloaded: {error}") from error
