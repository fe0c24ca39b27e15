"""Prometheus' rules: what is worth waking somebody for."""

from typing import Any

from deployments import metrics
from serve_app.commands.dashboards.queries import EVERYWHERE, ending, quantile, with_gaps

OVER = "10m"
SLOW_FIRST_SOUND_S = 2.0
MOST_WITH_GAPS, MOST_REFUSED, MOST_FAILED = 0.02, 0.05, 0.01  # of answers
LEAST_ANSWERS = 20  # in that time: of fewer, one alone would be a large share


def alerts() -> dict[str, Any]:
    """A rule file of Prometheus, as values."""
    gaps = with_gaps(EVERYWHERE, OVER)
    first_sound = quantile(metrics.FIRST_SOUND, 0.95, EVERYWHERE, OVER)
    rules = [
        _rule(
            "StepAudio2ClientsHearGaps",
            f"{gaps} > {MOST_WITH_GAPS}",
            "{{ $value | humanizePercentage }} of the spoken answers had a gap. Look at the late "
            "chunks by cause: `tokens` is the Thinker, `step` and `end` are Token2Wav.",
        ),
        _rule(
            "StepAudio2FirstSoundIsSlow",
            f"{first_sound} > {SLOW_FIRST_SOUND_S}",
            "The first sound of one answer in twenty takes more than {{ $value | humanizeDuration "
            "}}. Look at vLLM's waiting requests and at the rows of a step.",
        ),
        _rule(
            "StepAudio2RefusesAnswers",
            f"{ending('refused', EVERYWHERE, OVER)} > {MOST_REFUSED}",
            "{{ $value | humanizePercentage }} of the answers are refused for lack of room. Add "
            "replicas; the reason says what is missing.",
        ),
        _rule(
            "StepAudio2AnswersFail",
            f"{ending('failed', EVERYWHERE, OVER)} > {MOST_FAILED}",
            "{{ $value | humanizePercentage }} of the answers ended with an error of the server. "
            "Look at the replicas' logs for lines that begin with `answered 5`.",
        ),
    ]
    return {"groups": [{"name": "step-audio2", "rules": rules}]}


def _rule(name: str, expression: str, description: str) -> dict[str, Any]:
    enough = f"sum(increase({metrics.ANSWERS.exported}[{OVER}])) >= {LEAST_ANSWERS}"
    return {
        "alert": name,
        "expr": f"({expression}) and on () ({enough})",
        "for": "5m",
        "labels": {"severity": "page"},
        "annotations": {"description": description},
    }
