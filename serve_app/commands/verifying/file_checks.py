"""Whether the files are there, whole, and belong together."""

from deployments.errors import ConfigError
from deployments.model_checks import read_tokenizer
from deployments.model_files import ModelFiles
from deployments.thinker.tokens import AUDIO_CODES, SpecialTokens
from deployments.token2wav.functional.published_weights import read_flow_config
from serve_app.commands.verifying.findings import Finding, judged

GIGABYTE = 1e9


def check_files(files: ModelFiles) -> list[Finding]:
    """Headers and sizes of every file, the ids of the tokens, and whether the stages agree."""
    try:
        files.require()
    except ConfigError as error:
        return [Finding("files", "fail", str(error))]
    every = [path for path in files.root.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in every) / GIGABYTE
    return [
        Finding("files", "pass", f"{len(every)} files, {size:.2f} GB, whole by header and size"),
        _ids(files),
        _codebook(files),
    ]


def _ids(files: ModelFiles) -> Finding:
    tokenizer = read_tokenizer(files.root)
    if tokenizer is None:
        return Finding("token ids", "skipped", "there is no tokenizer.json to read them from")
    try:
        special = SpecialTokens.from_tokenizer(tokenizer)
    except ConfigError as error:
        return Finding("token ids", "fail", str(error))
    audio = f"audio tokens {special.audio_first} to {special.audio_pad - 1}"
    return Finding("token ids", "pass", f"every special token is there; {audio}")


def _codebook(files: ModelFiles) -> Finding:
    """The Thinker's audio tokens are the codes that the flow takes."""
    size = read_flow_config(files.token2wav).vocab_size
    says = f"the flow takes {size} codes, the Thinker has {AUDIO_CODES}"
    return judged("codebook", size == AUDIO_CODES, says)
