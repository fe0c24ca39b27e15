"""Streams in the resident and in the functional Token2Wav engine, side by side, on a GPU.

Seeded random weights of the published sizes; no file is needed.
"""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deployments.token2wav.contract import StepOutput
from deployments.token2wav.functional import (
    Flow,
    FlowConfig,
    FlowInput,
    FlowState,
    FlowSynthesizer,
    Hift,
    HiftConfig,
    HiftInput,
    HiftState,
    Vocoder,
)
from deployments.token2wav.resident.resident_engine import ResidentEngine
from deployments.token2wav.resident.resident_sizes import ResidentSizes
from deployments.token2wav.resident.streams import ResidentStream, ResidentVoice
from deployments.token2wav.token2wav_config import GpuMemory
from deployments.token2wav.voice_preparation import place_whole
from tests.benchmarks.compared import require_finite, snr_db, worst_difference

DEVICE = torch.device("cuda")
SEED, AHEAD, FRAMES_PER_TOKEN = 0, 3, 2
STEADY = 25  # tokens: one second of speech
TABLE: list[tuple[str, str]] = []


@dataclass
class Prompt:
    codes: Tensor
    embedding: Tensor
    mel: Tensor


@dataclass
class Row:
    state: ResidentStream
    tokens: list[int]
    last: bool = False


def note(name: str, value: object) -> None:
    TABLE.append((name, str(value)))
    print(f"{name}: {value}", flush=True)


def random_networks() -> tuple[Flow, Hift]:
    torch.manual_seed(0)
    with DEVICE:
        flow = Flow(FlowConfig()).eval().requires_grad_(False)
        hift = Hift(HiftConfig()).eval().requires_grad_(False)
    hift.fold_weight_norm()
    hift.f0_predictor.classifier.bias.fill_(150.0)  # a voice, so that phases matter
    return flow, hift


def random_prompt(codes: int, seed: int) -> Prompt:
    generator = torch.Generator().manual_seed(seed)
    return Prompt(
        torch.randint(6561, (codes,), generator=generator),
        torch.randn(192, generator=generator).to(DEVICE),
        torch.randn(FRAMES_PER_TOKEN * codes, 80, generator=generator).to(DEVICE),
    )


def new_engine(
    networks: tuple[Flow, Hift],
    dtype: torch.dtype,
    *,
    memory_gb: float,
    max_batch: int,
    chunk_frames: tuple[int, ...] = (24, 50, 56),
    voice_tokens: int = 250,
) -> ResidentEngine:
    began = time.perf_counter()
    sizes = ResidentSizes(
        GpuMemory(memory_gb=memory_gb), max_batch, chunk_frames, voice_tokens=(voice_tokens,) * 4
    )
    engine = ResidentEngine(*networks, None, seed=SEED, device=DEVICE, dtype=dtype, sizes=sizes)
    took = time.perf_counter() - began
    name = str(dtype).removeprefix("torch.")
    shapes = len(sizes.rows) * len(sizes.chunk_frames)
    note(f"{name}: start with {shapes} shapes captured (s)", f"{took:.1f}")
    return engine


class Twin:
    """One stream in both engines."""

    def __init__(self, number: int, oracle: "Oracle", engine: ResidentEngine, voice: int) -> None:
        self.number = number
        self.resident = engine.open(oracle.voices[voice])
        self.flow: FlowState = oracle.flow_voices[voice]
        self.sound = HiftState.empty(oracle.vocoder.hift)


class Oracle:
    """The functional engine in float32, and the resident one, on the same streams."""

    def __init__(self, networks: tuple[Flow, Hift], engine: ResidentEngine) -> None:
        self.engine = engine
        self.synthesizer = FlowSynthesizer(networks[0], seed=SEED)
        self.vocoder = Vocoder(networks[1], seed=SEED)
        self.voices: list[ResidentVoice] = []
        self.flow_voices: list[FlowState] = []
        self.mel_snr: list[float] = []
        self.mel_worst = 0.0
        self.captured_differs = math.inf  # until it is measured
        self.sound_snr: list[float] = []

    def add_voice(self, prompt: Prompt) -> None:
        self.voices.append(place_whole(self.engine.place_voice(prompt)))
        self.flow_voices.append(
            self.synthesizer.prepare(prompt.codes, prompt.embedding, prompt.mel)
        )

    def step(self, twins: Sequence[Twin], tokens: list[list[int]], last: list[bool]) -> None:
        engine = self.engine
        engine._shapes._arena.memory.fill_(255)  # no number in any buffer
        rows = [Row(t.resident, ids, e) for t, ids, e in zip(twins, tokens, last, strict=True)]
        counts = [len(ids) - (0 if e else AHEAD) for ids, e in zip(tokens, last, strict=True)]
        outputs: list[StepOutput] = engine.step(rows)
        shape = engine._shapes.fit(len(rows), FRAMES_PER_TOKEN * max(counts))
        inputs = [
            FlowInput(torch.tensor(ids), e, t.flow)
            for t, ids, e in zip(twins, tokens, last, strict=True)
        ]
        mels, states = self.synthesizer.step(inputs)
        own = shape.buffers.solver.mel
        loud = shape.buffers.vocoder.sound
        for at, (twin, mel, state) in enumerate(zip(twins, mels, states, strict=True)):
            got = own[at, : len(mel)]
            self.mel_worst = max(self.mel_worst, worst_difference(mel, got))
            self.mel_snr.append(snr_db(mel, got))
            twin.flow = state
        # the vocoder's chaos must not be charged to the flow: it gets the resident mels
        given = [
            HiftInput(own[at, : len(mel)].clone(), e, twin.sound)
            for at, (twin, mel, e) in enumerate(zip(twins, mels, last, strict=True))
        ]
        sounds, held = self.vocoder.step(given)
        for at, (twin, sound, state) in enumerate(zip(twins, sounds, held, strict=True)):
            got = loud[at, : len(sound)]
            pcm = (got.clamp(-1, 1) * 32767).to(torch.int16).cpu().numpy()
            assert outputs[at].pcm == pcm.astype("<i2").tobytes()
            self.sound_snr.append(snr_db(sound, got))
            twin.sound = state

    def captured_against_eager(self, twin: Twin, tokens: list[int]) -> None:
        """A stream's first step, replayed and then computed again launch by launch.

        The places that it writes are none that it reads, so that it can be computed twice.
        """
        self.engine.step([Row(twin.resident, tokens)])
        shapes = self.engine._shapes
        frames = FRAMES_PER_TOKEN * (len(tokens) - AHEAD)
        shape = shapes.fit(1, frames)
        mel = shape.buffers.solver.mel[0, :frames]
        sound = shape.buffers.vocoder.sound[0, : 480 * frames]
        # a GPU's limiter makes the limit of a NaN: it has to be looked for before that
        waves = shape.buffers.vocoder.waves[0, : 120 * frames + 1]
        require_finite("replayed waves", waves)
        replayed = mel.clone(), sound.clone()
        shapes._arena.memory.fill_(255)
        torch.cuda.synchronize()
        with shapes._running():
            shapes._compute(shape)
        torch.cuda.synchronize()
        require_finite("eager waves", waves)
        worst = [worst_difference(a, b) for a, b in zip((mel, sound), replayed, strict=True)]
        self.captured_differs = max(worst)
        note("captured against eager: worst |difference| of mel, sound",
             f"{worst[0]:.1e}, {worst[1]:.1e}")  # fmt: skip

    def report(self, name: str) -> None:
        note(f"{name}: chunks compared", len(self.mel_snr))
        note(f"{name}: mel, worst |difference| to functional fp32", f"{self.mel_worst:.2e}")
        note(f"{name}: mel SNR min / median dB",
             f"{min(self.mel_snr):.1f} / {statistics.median(self.mel_snr):.1f}")  # fmt: skip
        note(f"{name}: sound SNR of equal mels min / median dB",
             f"{min(self.sound_snr):.1f} / {statistics.median(self.sound_snr):.1f}")  # fmt: skip


def check(networks: tuple[Flow, Hift], dtype: torch.dtype, steps: int) -> Oracle:
    """Streams of three voices join and leave at random; chunk sizes are random too."""
    exact = dtype == torch.float32
    engine = new_engine(
        networks, dtype, memory_gb=10 if exact else 6, max_batch=4,
        chunk_frames=(24, 56), voice_tokens=225,
    )  # fmt: skip
    model = engine._model
    model.solver_pool.history.fill_(torch.nan)  # what was never written must not be heard
    model.encoder_pool.attention.fill_(torch.nan)
    model.encoder_pool.up_attention.fill_(torch.nan)
    oracle = Oracle(networks, engine)
    for number, codes in enumerate((40, 65, 225)):
        oracle.add_voice(random_prompt(codes, number))
    once = Twin(-1, oracle, engine, 2)
    oracle.captured_against_eager(once, list(range(STEADY + AHEAD)))
    engine.close(once.resident)
    draw = np.random.default_rng(1)
    twins: list[Twin] = [Twin(0, oracle, engine, 2)]  # this one stays: 40 chunks and more
    opened = 1
    for _ in range(steps):
        while len(twins) < 4 and draw.random() < 0.4:
            twins.append(Twin(opened, oracle, engine, int(draw.integers(3))))
            opened += 1
        others = [t for t in twins[1:] if draw.random() < 0.7]
        chosen = [twins[0], *others]
        counts = [int(n) for n in draw.choice([10, 12, 20, 25, 25, 25], len(chosen))]
        last = [t is not twins[0] and draw.random() < 0.2 for t in chosen]
        tokens = [
            draw.integers(0, 6561, n + (0 if e else AHEAD)).tolist()
            for n, e in zip(counts, last, strict=True)
        ]
        oracle.step(chosen, tokens, last)
        for twin, end in zip(chosen, last, strict=True):
            if end:
                engine.close(twin.resident)
                twins.remove(twin)
    oracle.report(str(dtype).removeprefix("torch."))
    return oracle


def leak(networks: tuple[Flow, Hift]) -> tuple[object, object]:
    """What 1 000 streams leave behind: memory after the first 16, and after all."""
    engine = new_engine(networks, torch.float16, memory_gb=8, max_batch=16, chunk_frames=(24,))
    voice = place_whole(engine.place_voice(random_prompt(100, 0)))
    tokens = list(range(12 + AHEAD))
    before = after = None
    for _ in range(64):
        streams = [engine.open(voice) for _ in range(16)]
        engine.step([Row(s, tokens) for s in streams])
        engine.step([Row(s, tokens[:12], last=True) for s in streams])
        for stream in streams:
            engine.close(stream)
        del streams, stream
        after = (torch.cuda.memory_allocated(), torch.cuda.memory_reserved(), engine.free)
        before = before or after
    note("1 024 streams: GPU bytes, reserved bytes and free pieces as after the first 16",
         "equal" if after == before else f"{before} became {after}")  # fmt: skip
    return before, after
