"""Token2Wav's resident engine on a GPU: correctness against the functional engine, and speed.

    python tests/gpu/token2wav_resident.py [tune] [check] [long] [leak] [measure] [profile]

Seeded random weights of the published sizes; no file is needed. Each row of the table at the end
was measured in this run. Raw rows go to `$OUT/token2wav_resident.json` where `OUT` is set.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deployments.token2wav.model import (
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
from deployments.token2wav.resident.engine import ResidentEngine, ResidentOutput
from deployments.token2wav.resident.settings import ResidentSettings
from deployments.token2wav.resident.streams import ResidentStream, ResidentVoice

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


def new_engine(networks: tuple[Flow, Hift], dtype: torch.dtype, **sizes: object) -> ResidentEngine:
    began = time.perf_counter()
    engine = ResidentEngine(
        *networks, None, seed=SEED, device=DEVICE, dtype=dtype, settings=ResidentSettings(**sizes)
    )
    took = time.perf_counter() - began
    name = str(dtype).removeprefix("torch.")
    shapes = len(engine.settings.rows) * len(engine.settings.chunk_frames)
    note(f"{name}: start with {shapes} shapes captured (s)", f"{took:.1f}")
    return engine


def snr_db(signal: Tensor, other: Tensor) -> float:
    signal, other = signal.double(), other.double()
    return float(10 * torch.log10(signal.square().sum() / (signal - other).square().sum()))


def time_ms(run: Callable[[], object], repeats: int = 20, warm: int = 3) -> float:
    """Median milliseconds by device events."""
    for _ in range(warm):
        run()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def wall_ms(run: Callable[[], object], repeats: int = 20, warm: int = 3) -> float:
    """Median milliseconds by the host's clock; `run` ends when its result is on the host."""
    times = []
    for at in range(warm + repeats):
        began = time.perf_counter()
        run()
        if at >= warm:
            times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def captured(run: Callable[[], object]) -> torch.cuda.CUDAGraph:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph


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
        self.sound_snr: list[float] = []

    def add_voice(self, prompt: Prompt) -> None:
        self.voices.append(self.engine.prepare_prompt(prompt))
        self.flow_voices.append(
            self.synthesizer.prepare(prompt.codes, prompt.embedding, prompt.mel)
        )

    def step(self, twins: Sequence[Twin], tokens: list[list[int]], last: list[bool]) -> None:
        engine = self.engine
        engine._shapes._arena.memory.fill_(255)  # no number in any buffer
        rows = [Row(t.resident, ids, e) for t, ids, e in zip(twins, tokens, last, strict=True)]
        counts = [len(ids) - (0 if e else AHEAD) for ids, e in zip(tokens, last, strict=True)]
        outputs: list[ResidentOutput] = engine.step(rows)
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
            self.mel_worst = max(self.mel_worst, float((got - mel).abs().max()))
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
        shape = shapes.fit(1, FRAMES_PER_TOKEN * (len(tokens) - AHEAD))
        mel, sound = shape.buffers.solver.mel, shape.buffers.vocoder.sound
        replayed = mel[0].clone(), sound[0].clone()
        shapes._arena.memory.fill_(255)
        torch.cuda.synchronize()
        with shapes._running():
            shapes._compute(shape)
        torch.cuda.synchronize()
        frames = FRAMES_PER_TOKEN * (len(tokens) - AHEAD)
        worst = [
            float((a[:n] - b[0, :n]).abs().max())
            for a, b, n in zip(replayed, (mel, sound), (frames, 480 * frames), strict=True)
        ]
        note("captured against eager: worst |difference| of mel, sound",
             f"{worst[0]:.1e}, {worst[1]:.1e}")  # fmt: skip

    def report(self, name: str) -> None:
        note(f"{name}: chunks compared", len(self.mel_snr))
        note(f"{name}: mel, worst |difference| to functional fp32", f"{self.mel_worst:.2e}")
        note(f"{name}: mel SNR min / median dB",
             f"{min(self.mel_snr):.1f} / {statistics.median(self.mel_snr):.1f}")  # fmt: skip
        note(f"{name}: sound SNR of equal mels min / median dB",
             f"{min(self.sound_snr):.1f} / {statistics.median(self.sound_snr):.1f}")  # fmt: skip


def check(networks: tuple[Flow, Hift], dtype: torch.dtype, steps: int) -> None:
    """Streams of three voices join and leave at random; chunk sizes are random too."""
    exact = dtype == torch.float32
    engine = new_engine(
        networks, dtype, memory_bytes=(10 if exact else 6) << 30, max_batch=4,
        chunk_frames=(24, 56), typical_voice_s=9,
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


def leak(networks: tuple[Flow, Hift]) -> None:
    """1 000 streams in a row end with the memory they began with."""
    engine = new_engine(
        networks, torch.float16, memory_bytes=8 << 30, max_batch=16, chunk_frames=(24,)
    )
    voice = engine.prepare_prompt(random_prompt(100, 0))
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


def filled(engine: ResidentEngine, count: int, chunks: int) -> list[ResidentStream]:
    """Streams in a 9 s voice that have spoken for `chunks` seconds, by the host's account."""
    voice = engine.prepare_prompt(random_prompt(225, 0))
    streams = [engine.open(voice) for _ in range(count)]
    for stream in streams:
        for _ in range(chunks):
            stream.frames.append(FRAMES_PER_TOKEN * STEADY)
            stream.tokens.append(STEADY)
        stream.steps, stream.held_frames = chunks, 8
        stream.spoken_frames = chunks * FRAMES_PER_TOKEN * STEADY
    return streams


def measure(networks: tuple[Flow, Hift], profiling: bool) -> None:
    torch.cuda.reset_peak_memory_stats()
    base = torch.cuda.memory_allocated()
    engine = new_engine(networks, torch.float16, memory_bytes=34 << 30, max_batch=64)
    note("fp16: max_streams of a 34 GiB budget (10 s voices)", engine.max_streams)
    note("fp16: GPU GiB beyond the 34 of the budget, all shapes captured",
         f"{(torch.cuda.max_memory_allocated() - base) / 2**30 - 34:.2f}")  # fmt: skip
    model, shapes = engine._model, engine._shapes
    model.solver_pool.history.normal_()
    model.encoder_pool.attention.normal_()
    model.encoder_pool.up_attention.normal_()
    note("fp16: a 9 s voice prepared (ms)",
         f"{wall_ms(lambda: engine.prepare_prompt(random_prompt(225, 1)), 5, 2):.0f}")  # fmt: skip
    streams = filled(engine, 64, 12)
    for count, tokens in ((1, 10), (1, 25), (2, 25), (4, 25), (8, 25), (16, 25), (32, 10),
                          (32, 25), (64, 25)):  # fmt: skip
        rows = [Row(stream, list(range(tokens + AHEAD))) for stream in streams[:count]]
        took = wall_ms(lambda rows=rows: engine.step(rows), repeats=10)
        seconds = count * tokens / STEADY
        shape = shapes.fit(count, FRAMES_PER_TOKEN * tokens)
        parts = {
            "encoder": lambda s=shape: model.encoder.encode(
                s.buffers.encoder, model.encoder_pool, s.rows.encoder, s.buffers.solver.mu
            ),
            "DiT": lambda s=shape: model.solver.solve(
                s.buffers.solver, model.solver_pool, s.rows.solver
            ),
            "HiFT": lambda s=shape: model.vocode(s.buffers, s.rows),
        }
        split = []
        for name, part in parts.items():
            graph = captured(part)
            split.append(f"{name} {time_ms(graph.replay, 10):.2f}")
            if profiling and tokens == STEADY and count in (1, 32) and name != "DiT":
                profile(graph.replay, f"{name} of {count}")
            del graph
        whole = time_ms(shape.graph.replay, 10)
        note(
            f"fp16: {count} x {tokens} tokens: step wall ms (audio-s/s) | graph ms | parts ms",
            f"{took:.2f} ({1000 * seconds / took:.0f}) | {whole:.2f} | {', '.join(split)}",
        )


def tune(networks: tuple[Flow, Hift]) -> None:
    """Warps and stages of the DiT's attention; the quickest is used by what follows."""
    from deployments.token2wav.resident.kernels import attention

    results: dict[tuple[int, int], list[float]] = {}
    layers = 32
    history = torch.randn(1, 300, 2, 8, 2, 64, 64, device=DEVICE, dtype=torch.float16)
    norms = torch.ones(4, 64, device=DEVICE)
    for rows in (1, 32):
        table = torch.arange(rows * 8, device=DEVICE, dtype=torch.int32).view(rows, 8) + 9
        shared = torch.arange(1, 9, device=DEVICE, dtype=torch.int32).expand(rows, 8)
        table = torch.cat((shared, table), dim=1).contiguous()
        spans = torch.tensor([[0, 412, 962]] * rows, device=DEVICE, dtype=torch.int32)
        lengths = torch.full((rows,), 50, device=DEVICE, dtype=torch.int32)
        qkv = torch.randn(2 * rows * 50, 1536, device=DEVICE, dtype=torch.float16)
        out = torch.empty(2 * rows * 50, 512, device=DEVICE, dtype=torch.float16)
        size = attention.partial_size(2 * rows, 50, 8, 64)
        partial = torch.empty(size, device=DEVICE) if size else None
        for launch in ((4, 1), (4, 2), (4, 3), (4, 4), (8, 2), (8, 3)):
            attention.LAUNCH[:] = launch

            def run(args: tuple[object, ...] = (qkv, norms, history[0], table, spans, lengths,
                                                out, partial)) -> None:  # fmt: skip
                for _ in range(layers):
                    attention.attend(*args)

            graph = captured(run)
            took = 1000 * time_ms(graph.replay, 7) / layers
            results.setdefault(launch, []).append(took)
            note(f"attention of {rows} rows, warps and stages {launch}, us", f"{took:.1f}")
    best = min(results, key=lambda launch: results[launch][0] / min(r[0] for r in results.values())
               + results[launch][1] / min(r[1] for r in results.values()))  # fmt: skip
    attention.LAUNCH[:] = best
    note("attention: warps and stages used by what follows", best)


def profile(run: Callable[[], object], name: str) -> None:
    from torch.profiler import ProfilerActivity

    with torch.profiler.profile(activities=[ProfilerActivity.CUDA]) as seen:
        run()
        torch.cuda.synchronize()
    events = sorted(seen.key_averages(), key=lambda event: -event.device_time_total)
    print(f"--- {name}: us in total, calls, kernel")
    for event in events[:12]:
        print(f"{event.device_time_total:9.0f} {event.count:6d} {event.key[:90]}")
    sys.stdout.flush()


def measure_functional(networks: tuple[Flow, Hift]) -> None:
    """The eager functional engine, one stream and eight, the voice and history as above."""
    prompt = random_prompt(225, 0)
    synthesizer = FlowSynthesizer(networks[0], seed=SEED)
    vocoder = Vocoder(networks[1], seed=SEED)
    tokens = torch.arange(STEADY + AHEAD)
    for count in (1, 8):
        state = synthesizer.prepare(prompt.codes, prompt.embedding, prompt.mel)
        held = HiftState.empty(networks[1])
        for _ in range(3):
            mels, states = synthesizer.step([FlowInput(tokens, False, state)])
            _, helds = vocoder.step([HiftInput(mels[0], False, held)])
            state, held = states[0], helds[0]

        def run(state: FlowState = state, held: HiftState = held, count: int = count) -> None:
            mels, _ = synthesizer.step([FlowInput(tokens, False, state)] * count)
            sounds, _ = vocoder.step([HiftInput(m, False, held) for m in mels])
            for sound in sounds:
                sound.cpu()

        note(f"functional eager float32: {count} x {STEADY} tokens, wall ms",
             f"{wall_ms(run, 5, 1):.1f}")  # fmt: skip


def main() -> None:
    wanted = set(sys.argv[1:]) or {"check", "leak", "measure"}
    note("device", torch.cuda.get_device_name())
    note("torch / cuda", f"{torch.__version__} / {torch.version.cuda}")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    networks = random_networks()
    if "tune" in wanted:
        tune(networks)
    if "measure" in wanted or "profile" in wanted:
        measure(networks, "profile" in wanted)
        torch.cuda.empty_cache()
        measure_functional(networks)
    steps = 44 if "long" in wanted else 8
    if "check" in wanted or "long" in wanted:
        for dtype in (torch.float32, torch.float16):
            check(networks, dtype, steps)
            torch.cuda.empty_cache()
    if "leak" in wanted:
        leak(networks)
        torch.cuda.empty_cache()
    print("\n" + "\n".join(f"{name:72} {value}" for name, value in TABLE))
    if "OUT" in os.environ:
        path = Path(os.environ["OUT"]) / "token2wav_resident.json"
        path.write_text(json.dumps(TABLE, indent=1))


if __name__ == "__main__":
    main()
