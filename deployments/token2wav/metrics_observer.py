"""What Token2Wav reports, as metrics."""

from deployments import metrics
from deployments.metrics import Recorder
from deployments.token2wav.observer import ChunkReport, Refusal, StepReport


class MetricsObserver:
    """A `SynthesisObserver` that records each step, stream and voice.

    Refusals are recorded where a client gets them: in the ingress, with those of Ray Serve.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._record = recorder.record

    def step_ended(self, step: StepReport) -> None:
        self._record(metrics.STEP_TIME, step.ended_s - step.began_s)
        self._record(metrics.STEP_ROWS, len(step.chunks))
        if step.failed:
            return
        self._record(metrics.CHUNKS, len(step.chunks) - step.broken)
        for chunk in step.chunks:
            if chunk.plays_until_s is not None and chunk.plays_until_s < step.ended_s:
                late_s = step.ended_s - chunk.plays_until_s
                cause = _cause(chunk, chunk.plays_until_s, step.began_s)
                self._record(metrics.LATE_CHUNKS, late_s, cause=cause)

    def stream_opened(self, open_streams: int) -> None:
        self._record(metrics.STREAMS_OPEN, open_streams)

    def stream_closed(self, open_streams: int) -> None:
        self._record(metrics.STREAMS_OPEN, open_streams)

    def stream_refused(self, reason: Refusal) -> None: ...

    def voice_prepared(self, took_s: float) -> None:
        self._record(metrics.VOICE_PREPARATION, took_s)

    def voices_kept(self, voices: int) -> None:
        self._record(metrics.VOICES_CACHED, voices)


def _cause(chunk: ChunkReport, plays_until_s: float, began_s: float) -> str:
    """What a late chunk waited for when its listener had played everything."""
    if chunk.arrived_s > plays_until_s:
        return "tokens"
    return "step" if began_s > plays_until_s else "end"
