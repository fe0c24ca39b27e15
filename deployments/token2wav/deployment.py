"""Token2Wav as a Ray Serve deployment: a thin shell around `spoken_answer.answer_aloud`."""

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments import metrics, nvidia_mps
from deployments.chunker import ChunkSchedule
from deployments.errors import ThinkerLost
from deployments.heap import HeapTender, settle_heap
from deployments.liveness.heartbeats import Beating, Heartbeats, require_health
from deployments.liveness.watch import Watch
from deployments.messages import (
    ReferenceAudio,
    SpeechDelta,
    SpeechRequest,
    ThinkerDelta,
    ThinkerRequest,
)
from deployments.metrics import recorder
from deployments.model_files import find_model
from deployments.replica_logs import complaints_shown, request_logged, show_in_replica_log
from deployments.replica_name import own_name, refusals_named, signed
from deployments.resume import Recovery, Tries
from deployments.scaling.stage_load import StageLoad
from deployments.spoken_answer.traced_speech import traced_aloud
from deployments.stage_calls import written
from deployments.stages import Synthesizer
from deployments.token2wav.configured_voices import read_voices, voice_files
from deployments.token2wav.fake import FakeSynthesizer
from deployments.token2wav.metrics_observer import MetricsObserver
from deployments.token2wav.observer import SynthesisObserver
from deployments.token2wav.synthesizer import BatchingSynthesizer
from deployments.token2wav.token2wav_config import Token2WavConfig
from deployments.token2wav.voice_cache import nothing_stored
from deployments.voice_store import VoiceStore

logger = logging.getLogger(__name__)


def build_synthesizer(
    model: str,
    config: Token2WavConfig,
    observer: SynthesisObserver | None = None,
    voice_store: VoiceStore | None = None,
) -> Synthesizer:
    """The synthesizer that `config.engine` names, not yet started.

    Uploaded voices come from `voice_store`.
    """
    if config.engine == "fake":
        schedule = config.schedule(open_streams=0, lookahead=ChunkSchedule().lookahead)
        return FakeSynthesizer(schedule, tuple(config.voices), config.max_streams, observer)

    from deployments.token2wav.engines import for_its_device, load_engine, longest_step_s

    config = for_its_device(config)
    files = find_model(model)
    files.require(thinker=False)
    voices = read_voices(voice_files(config, files), config.reference_audio)
    voice_s = [recording.seconds for recording in voices.values()]
    return BatchingSynthesizer(
        load_engine(files.token2wav, config, voice_s),
        voices,
        config.schedule,
        max_batch=config.max_batch,
        cached_voices=config.cached_voices,
        longest_step_s=longest_step_s(config),
        read_stored=voice_store.read if voice_store else nothing_stored,
        observer=observer,
    )


@serve.deployment(name="Token2Wav")
class Token2WavDeployment:
    """Pulls one Thinker stream a request and speaks it; a stream's state is a local here."""

    observer: SynthesisObserver | None = None  # by default metrics; a benchmark has its own

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self,
        model: str,
        config: Token2WavConfig,
        thinker: DeploymentHandle,
        voice_store: str | None = None,
        recovery: Recovery = Recovery(),  # noqa: B008
    ) -> None:
        show_in_replica_log()
        started_s = time.monotonic()
        self._thinker = thinker.options(stream=True, _by_reference=False)
        self._recovery = recovery
        self._thinker_watch = Watch(recovery.silence_s)
        with complaints_shown():
            nvidia_mps.join()
            store = VoiceStore(voice_store) if voice_store else None
            observer = self.observer or MetricsObserver(recorder())
            self._synthesizer = build_synthesizer(model, config, observer, store)
            await self._synthesizer.start()
        self._name = own_name()
        self._load = StageLoad()
        self._stuck_s = recovery.stuck_s or self._synthesizer.longest_step_s
        self._heartbeats = Heartbeats(self._synthesizer.steps, self._stuck_s)
        settle_heap()
        self._heap = HeapTender()
        logger.info("Token2Wav: ready after %.1f s", time.monotonic() - started_s)

    async def speak(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        """Answer aloud; the last delta carries the `finish_reason`."""
        deltas = self._spoken(request)
        answer: Beating[SpeechDelta] | AsyncGenerator[SpeechDelta]
        if request.beats:
            answer = self._heartbeats.among(deltas, SpeechDelta(replica=self._name))
        else:
            answer = signed(deltas, self._name)
        what = "speech" if request.so_far is None else "speech that goes on here"
        thinker = request.thinker
        logged = request_logged(logger, thinker.request_id, what, thinker.trace)
        with self._load.counted(), logged, refusals_named(self._name):
            async with aclosing(answer):
                async for delta in answer:
                    yield delta

    async def _spoken(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        tries = Tries(request.tries)

        def think(asked: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
            call = self._thinker.generate.remote
            watch = self._thinker_watch
            return written(asked, call, self._recovery, tries, watch, on_loss=ThinkerLost)

        async with aclosing(traced_aloud(request, self._synthesizer, think)) as spoken:
            async for delta in spoken:
                yield replace(delta, tries=tries.left) if tries.spent else delta

    async def prepare(self, request_id: str, recording: ReferenceAudio) -> None:
        """Make a voice of `recording` before it is stored. Raises as `Synthesizer.prepare`."""
        with request_logged(logger, request_id, "voice"):
            await self._synthesizer.prepare(recording)

    async def voices(self) -> tuple[str, ...]:
        """Names of the configured voices, the default one first."""
        return self._synthesizer.voices()

    async def record_autoscaling_stats(self) -> dict[str, float]:  # Ray Serve calls it
        return self._load.stats(self._synthesizer.headroom())

    async def check_health(self) -> None:
        recorder().record(metrics.STREAM_PLACES, self._synthesizer.places)
        recorder().record(metrics.HEADROOM, self._synthesizer.headroom())
        recorder().record(metrics.REPORTED, time.time())
        recorder().refresh()
        await require_health(self._synthesizer, self._stuck_s)
        self._heap.tend(idle=not self._synthesizer.open_streams)

    def __del__(self) -> None:
        if hasattr(self, "_synthesizer"):
            self._synthesizer.close()
