"""The page of findings, in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from serve_app.commands.verifying.findings import Finding, failures


def page(model: str, findings: Sequence[Finding], environment: Mapping[str, Any]) -> str:
    """All findings and where they were made; it can be pasted into an issue as it is."""
    failed = failures(findings)
    verdict = f"{failed} of {len(findings)} checks failed" if failed else "every check passed"
    rows = "\n".join(f"| {one.check} | {one.verdict} | {_cell(one.says)} |" for one in findings)
    gpus = ", ".join(f"{gpu['name']}, {gpu['memory_gib']} GiB" for gpu in environment["gpus"])
    packages = ", ".join(f"{name} {found}" for name, found in environment["packages"].items())
    return (
        f"# step-audio2 verify: {verdict}\n\n"
        f"Model: {model}\n\n"
        f"| Check | | |\n|---|---|---|\n{rows}\n\n"
        f"- {environment['measured_at']}, {environment['system']}, "
        f"{environment['cpus']} CPUs, {gpus or 'no GPU'}\n"
        f"- Python {environment['python']}, {packages}\n"
    )


def _cell(text: str) -> str:
    """`text` as it can stand in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
