"""Token2Wav's resident engine on a GPU: correctness against the functional engine, and speed.

    python tests/benchmarks/token2wav_resident.py [tune] [measure] [profile] [check] [long] [leak]

Seeded random weights of the published sizes; no file is needed. Each row of the table at the end
was measured in this run. Raw rows go to `$OUT/token2wav_resident.json` where `OUT` is set.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deployments.token2wav.functional import (
    Flow,
    FlowInput,
    FlowState,
    FlowSynthesizer,
    Hift,
    HiftInput,
    HiftState,
    Vocoder,
)
from deployments.token2wav.resident.kernels import attention
from deployments.token2wav.resident.resident_engine import ResidentEngine
from deployments.token2wav.resident.streams import ResidentStream
from deployments.token2wav.voice_preparation import place_whole
from tests.benchmarks.resident_streams import (
    AHEAD,
    DEVICE,
    FRAMES_PER_TOKEN,
    SEED,
    STEADY,
    TABLE,
    Row,
    check,
    leak,
    new_engine,
    note,
    random_networks,
    random_prompt,
)


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


def filled(engine: ResidentEngine, count: int, chunks: int) -> list[ResidentStream]:
    """Streams in a 9 s voice that have spoken for `chunks` seconds, by the host's account."""
    voice = place_whole(engine.place_voice(random_prompt(225, 0)))
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
    engine = new_engine(networks, torch.float16, memory_gb=34, max_batch=64)
    note("fp16: max_streams of a 34 GiB budget (10 s voices)", engine.max_streams)
    note("fp16: GPU GiB beyond the 34 of the budget, all shapes captured",
         f"{(torch.cuda.max_memory_allocated() - base) / 2**30 - 34:.2f}")  # fmt: skip
    model, shapes = engine._model, engine._shapes
    model.solver_pool.history.normal_()
    model.encoder_pool.attention.normal_()
    model.encoder_pool.up_attention.normal_()
    took = wall_ms(lambda: place_whole(engine.place_voice(random_prompt(225, 1))), 5, 2)
    note("fp16: a 9 s voice prepared (ms)", f"{took:.0f}")
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
