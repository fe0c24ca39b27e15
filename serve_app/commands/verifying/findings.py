"""What was checked, and what came of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["pass", "fail", "skipped", "figure"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the page."""

    check: str
    verdict: Verdict  # a figure is neither right nor wrong
    says: str


def judged(check: str, is_right: bool, says: str) -> Finding:
    """A finding that passes or fails."""
    return Finding(check, "pass" if is_right else "fail", says)


def failures(findings: Iterable[Finding]) -> int:
    """How many of them fail."""
    return sum(finding.verdict == "fail" for finding in findings)
