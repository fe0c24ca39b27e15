"""How turns with pauses in them end: `python -m tests.benchmarks.run_turns --help`.

Each turn is one sentence with a pause of 400-1500 ms in it (`turns/sounds.py`), in noise, with five
seconds of silence behind it. Each rule hears it through the server's own `Listener`, in virtual
time: the sound comes in frames of 32 ms, the model's word `--judge-ms` after the question. A turn
that ends before its sentence does is a false end. The wait is the time from the end of the sentence
to the end of the turn, over turns without a false end.
"""

import asyncio
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from serve_app.sound.turns import (
    FRAME_MS,
    Listener,
    SemanticVad,
    ServerVad,
    SpeechStarted,
    SpeechStopped,
    TurnRule,
)
from serve_app.sound.turns.smart_turn import SmartTurn
from serve_app.sound.voice_activity import FRAME_SAMPLES, SileroState, shared_model
from tests.benchmarks.turns.sounds import TurnSound, nano, recordings, turns

RULES: dict[str, TurnRule] = {
    "semantic_vad low": SemanticVad("low"),
    "semantic_vad medium": SemanticVad("medium"),
    "semantic_vad high": SemanticVad("high"),
    "server_vad 500 ms": ServerVad(),
    "server_vad 1000 ms": ServerVad(silence_duration_ms=1000),
    "server_vad 1400 ms": ServerVad(silence_duration_ms=1400),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One turn under one rule. Times in ms."""

    rule: str
    recording: str
    kind: str
    pause_ms: int
    snr_db: float
    ends: list[int]  # when the end of a turn was known, from the end of the sentence
    onset_ms: int | None  # when its beginning was known, from the beginning of the sentence
    judged: list[tuple[int, float]]  # when it was asked, from the pause or the end, and the answer

    @property
    def false_end(self) -> bool:
        return any(end <= 0 for end in self.ends)


class HeardBefore:
    """Voice activity whose probabilities are known: both rules hear the same."""

    def __init__(self, probabilities: np.ndarray) -> None:
        self._left = iter(probabilities.tolist())

    async def probabilities(self, stream: object, samples: np.ndarray) -> list[float]:
        return [next(self._left) for _ in range(len(samples) // FRAME_SAMPLES)]


class LateJudge:
    """The model, whose word on a turn comes so many frames after the question."""

    def __init__(self, model: Callable[[np.ndarray], float], frames: int) -> None:
        self._model, self._frames = model, frames
        self.frame = 0  # those that were heard
        self.asked: list[tuple[int, float]] = []  # the frame, and the answer

    async def complete(self, samples: np.ndarray) -> float:
        until = self.frame + self._frames
        self.asked.append((self.frame, round(self._model(samples), 4)))
        answer = self.asked[-1][1]
        while self.frame < until:
            await asyncio.sleep(0)
        return answer


async def outcome(name: str, turn: TurnSound, found: np.ndarray, judge: LateJudge) -> Outcome:
    """One turn under the rule of that name; `found` has the probabilities of its frames."""
    listener = Listener(RULES[name], HeardBefore(found), judge)  # type: ignore[arg-type]
    ends: list[int] = []
    onset_ms = None
    for frame in turn.samples[: len(found) * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES):
        judge.frame += 1
        for event in await listener.hear(frame):
            if isinstance(event, SpeechStopped):
                ends.append(listener.now_ms - turn.end_ms)
            elif isinstance(event, SpeechStarted) and onset_ms is None:
                onset_ms = listener.now_ms - turn.start_ms
        await asyncio.sleep(0)
        if ends and ends[-1] > 0:
            break
    listener.close()
    judged = [(_since_silence(turn, frame * FRAME_MS), word) for frame, word in judge.asked]
    return Outcome(
        name, turn.recording, turn.kind, turn.pause_ms, turn.snr_db, ends, onset_ms, judged
    )


def _since_silence(turn: TurnSound, at_ms: int) -> int:
    """ms since the turn's end, negative ones since the beginning of its pause."""
    if at_ms > turn.end_ms:
        return at_ms - turn.end_ms
    return -(at_ms - turn.pause_from_ms)


class Remembering:
    """Smart Turn, whose answers are kept: every rule asks the same, and so does the next run."""

    def __init__(self, answers: dict[str, float]) -> None:
        self._model, self._answers = SmartTurn(), answers

    def __call__(self, samples: np.ndarray) -> float:
        name = hashlib.sha256(samples.tobytes()).hexdigest()
        if name not in self._answers:
            self._answers[name] = self._model(samples)
        return self._answers[name]


async def outcomes(
    sounds: list[TurnSound], names: list[str], model: Callable[[np.ndarray], float], judge_ms: int
) -> list[Outcome]:
    """Each turn under each rule."""
    found = []
    for turn in sounds:
        probabilities = probabilities_of(turn)
        for name in names:
            judge = LateJudge(model, math.ceil(judge_ms / FRAME_MS))
            found.append(await outcome(name, turn, probabilities, judge))
    return found


def probabilities_of(turn: TurnSound) -> np.ndarray:
    """Those of speech, of the whole frames."""
    whole = turn.samples[: len(turn.samples) // FRAME_SAMPLES * FRAME_SAMPLES]
    return shared_model().probabilities(whole, SileroState())[0]


def table(found: list[Outcome]) -> list[dict[str, object]]:
    """False ends and waits by rule and kind of pause."""
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for each in found:
        groups[each.rule, "all"].append(each)
        groups[each.rule, each.kind].append(each)
    return [{"rule": rule, "pause": kind, **_row(group)} for (rule, kind), group in groups.items()]


def _row(group: list[Outcome]) -> dict[str, object]:
    waits = sorted(each.ends[0] for each in group if not each.false_end and each.ends)
    onsets = sorted(each.onset_ms for each in group if each.onset_ms is not None)
    return {
        "turns": len(group),
        "false_ends_percent": round(100 * sum(each.false_end for each in group) / len(group), 1),
        "never_ended": sum(not each.ends for each in group),
        "wait_ms": {"p50": _nearest(waits, 0.5), "p90": _nearest(waits, 0.9)},
        "onset_ms": {"p50": _nearest(onsets, 0.5), "p95": _nearest(onsets, 0.95)},
    }


def _nearest(values: list[int], share: float) -> int | None:
    return values[math.ceil(share * len(values)) - 1] if values else None


def main(
    speech: Annotated[
        list[Path] | None, typer.Option(help="Folders of recordings; the repository's without.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Turns of each recording.")] = 2,
    judge_ms: Annotated[int, typer.Option(help="How late the model's word comes.")] = 110,
    seed: int = 0,
    out: Annotated[Path | None, typer.Option(help="A JSON file with every turn.")] = None,
    answers: Annotated[
        Path | None, typer.Option(help="A JSON file that keeps the model's answers between runs.")
    ] = None,
) -> None:
    """Print the false ends and the waits of each rule."""
    kept = json.loads(answers.read_text()) if answers and answers.exists() else {}
    model, report = Remembering(kept), {}
    for folder in speech or [None]:
        spoken = recordings(folder) if folder else nano()
        sounds = list(turns(spoken, rounds * len(spoken), seed))
        found = asyncio.run(outcomes(sounds, list(RULES), model, judge_ms))
        rows = table(found)
        source = folder.name if folder else "tests/nano/recordings"
        report[source] = {"table": rows, "turns": [asdict(each) for each in found]}
        print(f"{source}: {len(sounds)} turns of {len(spoken)} recordings")
        for row in rows:
            print(json.dumps(row))
        if answers:
            answers.write_text(json.dumps(kept))
    if out:
        out.write_text(json.dumps({"judge_ms": judge_ms, "seed": seed, "sources": report}) + "\n")


if __name__ == "__main__":
    typer.run(main)
