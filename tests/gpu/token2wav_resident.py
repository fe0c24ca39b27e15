"""Token2Wav's resident engine on a GPU: correctness against the functional flow, and speed.

    python tests/gpu/token2wav_resident.py [solver] [encoder] [vocoder] [engine]

Seeded random weights of the published sizes. Prints a table last; raw figures go to
`$OUT/token2wav_resident.json` where `OUT` is set.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deployments.token2wav.model import Flow, FlowConfig
from deployments.token2wav.model.cfm import (
    FoldedSchedule,
    SolverInput,
    SolverState,
    seeded_noise,
    trim,
)
from deployments.token2wav.resident.dit import ResidentSolver, SolverBuffers, SolverPool
from deployments.token2wav.resident.history import FrameHistory, PromptLayout
from deployments.token2wav.resident.kernels.attention import BLOCK
from deployments.token2wav.resident.rows import SolverRows

DEVICE = torch.device("cuda")
TAIL, STEPS, SEED = 100, 10, 0
TABLE: list[tuple[str, str]] = []


def note(name: str, value: object) -> None:
    TABLE.append((name, str(value)))
    print(f"{name}: {value}", flush=True)


def random_flow() -> Flow:
    torch.manual_seed(0)
    with DEVICE:
        flow = Flow(FlowConfig())
    return flow.eval().requires_grad_(False)


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


def snr_db(signal: torch.Tensor, other: torch.Tensor) -> float:
    signal, other = signal.double(), other.double()
    return float(10 * torch.log10(signal.square().sum() / (signal - other).square().sum()))


def captured(run: Callable[[], object]) -> torch.cuda.CUDAGraph:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph


class SolverStream:
    def __init__(self, index: int, prompt: int, first_block: int, blocks: int) -> None:
        self.index, self.prompt, self.parity = index, prompt, 0
        self.layout = PromptLayout.of(prompt, kept_tail=TAIL, block=BLOCK)
        self.history = FrameHistory(self.layout, kept_tail=TAIL)
        self.blocks = np.arange(first_block, first_block + blocks)
        self.speaker = torch.randn(80, device=DEVICE)
        self.state: SolverState | None = None


def fill(rows: SolverRows, streams: list[SolverStream], counts: list[int], prepare: bool) -> None:
    for at, (stream, count) in enumerate(zip(streams, counts, strict=True)):
        history = stream.history
        rows.table[at, : len(stream.blocks)] = torch.from_numpy(stream.blocks)
        if prepare:
            spans, addresses = (0, 0, 0), stream.layout.addresses()
        else:
            spans = (history.head, history.tail_begin, history.own_end)
            rows.offsets[at] = history.frames
            addresses = history.append(count)
        rows.spans[at] = torch.tensor(spans)
        physical = stream.blocks[addresses // BLOCK] * BLOCK + addresses % BLOCK
        rows.places[at, :count] = torch.from_numpy(np.where(addresses < 0, -1, physical))
        rows.lengths[at] = count
        slot = 2 + 2 * stream.index
        rows.slots[at] = torch.tensor((slot + stream.parity, slot + 1 - stream.parity))
        rows.voices[at] = stream.index
        stream.parity ^= 1


def check_solver(flow: Flow) -> None:
    decoder = flow.decoder
    noise = seeded_noise(80, SEED).to(DEVICE)
    schedule = FoldedSchedule.fold(decoder, STEPS)
    prompts, blocks = [130, 450], 18
    for dtype in (torch.float32, torch.float16):
        solver = ResidentSolver(decoder, seed=SEED, steps=STEPS, device=DEVICE, dtype=dtype)
        pool = SolverPool.allocate(solver, blocks=1 + 2 * blocks, slots=6, voices=2)
        pool.history.fill_(torch.nan)
        torch.manual_seed(3)
        streams = [SolverStream(i, p, 1 + i * blocks, blocks) for i, p in enumerate(prompts)]
        worst, ratios = 0.0, []
        graphs: dict[int, tuple[torch.cuda.CUDAGraph, SolverRows, SolverBuffers]] = {}

        def step(
            chosen: list[SolverStream], counts: list[int], frames: int, prepare: bool = False
        ) -> None:
            nonlocal worst
            mus = [torch.randn(n, 80, device=DEVICE) for n in counts]
            known = torch.randn(counts[0], 80, device=DEVICE) if prepare else None
            states = [s.state or decoder.empty_state(STEPS) for s in chosen]
            inputs = [
                SolverInput(m, s.speaker, torch.zeros_like(m) if known is None else known)
                for m, s in zip(mus, chosen, strict=True)
            ]
            with torch.inference_mode():
                expected, states = decoder.solve(inputs, states, noise, schedule)
            count = 1 if prepare else len(streams) + 1  # one or two are unused
            rows = SolverRows.empty(count, frames, blocks, DEVICE)
            fill(rows, chosen, counts, prepare)
            if prepare:
                buffers = SolverBuffers(solver, count, frames)
                buffers.condition = known[None].to(dtype)
                buffers.mu[0] = mus[0]
                solver.solve(buffers, pool, rows)
            else:
                if frames not in graphs:
                    spare = SolverRows.empty(count, frames, blocks, DEVICE)
                    spare_buffers = SolverBuffers(solver, count, frames)
                    spare_buffers.mu.zero_()

                    def run() -> None:
                        solver.solve(spare_buffers, pool, spare)

                    graphs[frames] = (captured(run), spare, spare_buffers)
                graph, own, buffers = graphs[frames]
                own.fill(rows)
                for at, mu in enumerate(mus):
                    buffers.mu[at, : len(mu)] = mu
                buffers.mel.fill_(torch.nan)
                graph.replay()
            for at, (stream, state) in enumerate(zip(chosen, states, strict=True)):
                got = buffers.mel[at, : counts[at]]
                worst = max(worst, float((got - expected[at]).abs().max()))
                ratios.append(snr_db(expected[at], got))
                stream.state = SolverState(state.conv, trim(state.history, stream.prompt))

        for stream in streams:
            pool.speakers[stream.index] = solver.speaker_part(stream.speaker)
            step([stream], [stream.prompt], stream.prompt, prepare=True)
        draw = np.random.default_rng(0)
        for _ in range(14):
            frames = int(draw.choice([24, 50]))
            counts = [int(n) for n in draw.choice([frames, frames, 20], 2)]
            both = bool(draw.integers(3))
            chosen = streams if both else [streams[int(draw.integers(2))]]
            step(chosen, counts[: len(chosen)], frames)
        name = str(dtype).removeprefix("torch.")
        note(f"solver {name}: worst |difference| to functional fp32", f"{worst:.2e}")
        note(f"solver {name}: mel SNR min / median dB",
             f"{min(ratios):.1f} / {statistics.median(ratios):.1f}")  # fmt: skip
        graphs.clear()
        del pool
        torch.cuda.empty_cache()


def measure_solver(flow: Flow) -> None:
    decoder = flow.decoder
    solver = ResidentSolver(decoder, seed=SEED, steps=STEPS, device=DEVICE, dtype=torch.float16)
    prompt, blocks = 450, 16
    most = 64
    pool = SolverPool.allocate(solver, blocks=9 + 8 * most, slots=2 + 2 * most, voices=most)
    pool.history.normal_()
    streams = [SolverStream(i, prompt, 1, blocks) for i in range(most)]
    for stream in streams:
        own = np.arange(9 + 8 * stream.index, 17 + 8 * stream.index)
        stream.blocks = np.concatenate((np.arange(1, 9), own))
        for _ in range(10):
            stream.history.append(50)
    for count, frames in ((1, 24), (1, 50), (2, 50), (4, 50), (8, 50), (16, 50), (32, 50),
                          (32, 24), (64, 50)):  # fmt: skip
        rows = SolverRows.empty(count, frames, blocks, DEVICE)
        fill(rows, streams[:count], [frames] * count, prepare=False)
        buffers = SolverBuffers(solver, count, frames)
        buffers.mu.normal_()

        def run(b: SolverBuffers = buffers, r: SolverRows = rows) -> None:
            solver.solve(b, pool, r)

        began = time.perf_counter()
        graph = captured(run)
        took = time.perf_counter() - began
        note(f"solver fp16 captured, {count} x {frames} frames (ms; capture s)",
             f"{time_ms(graph.replay):.2f}  ({took:.2f})")  # fmt: skip
        if frames == 50 and count in (1, 32):
            profile(graph.replay, f"solver_{count}")
    del graph


def profile(run: Callable[[], object], name: str) -> None:
    from torch.profiler import ProfilerActivity

    with torch.profiler.profile(activities=[ProfilerActivity.CUDA]) as seen:
        run()
        torch.cuda.synchronize()
    events = sorted(seen.key_averages(), key=lambda event: -event.device_time_total)
    print(f"--- {name}: us in total, calls, kernel")
    for event in events[:18]:
        print(f"{event.device_time_total:9.0f} {event.count:6d} {event.key[:90]}")
    sys.stdout.flush()


def measure_functional_solver(flow: Flow) -> None:
    for dtype in (torch.float32, torch.float16):
        decoder = flow.decoder.to(dtype)
        schedule = FoldedSchedule.fold(decoder, STEPS)
        noise = seeded_noise(80, SEED).to(DEVICE, dtype)
        for count in (1, 8):
            states = [decoder.empty_state(STEPS) for _ in range(count)]
            states = [
                SolverState(s.conv, torch.randn(*s.history.shape[:4], 550, 128,
                                                device=DEVICE, dtype=dtype))
                for s in states
            ]  # fmt: skip
            one = torch.randn(50, 80, device=DEVICE, dtype=dtype)
            rows = [SolverInput(one, one[0], torch.zeros_like(one))] * count

            def run(r: list[SolverInput] = rows, s: list[SolverState] = states) -> None:
                with torch.inference_mode():
                    decoder.solve(r, s, noise, schedule)

            name = str(dtype).removeprefix("torch.")
            note(f"solver functional eager {name}, {count} x 50 frames (ms)",
                 f"{time_ms(run, repeats=5, warm=1):.1f}")  # fmt: skip


def main() -> None:
    wanted = set(sys.argv[1:]) or {"solver"}
    note("device", torch.cuda.get_device_name())
    note("torch / cuda", f"{torch.__version__} / {torch.version.cuda}")
    torch.backends.cuda.matmul.allow_tf32 = False
    flow = random_flow()
    if "solver" in wanted:
        check_solver(flow)
        measure_solver(flow)
        measure_functional_solver(flow)
    print("\n" + "\n".join(f"{name:70} {value}" for name, value in TABLE))
    if "OUT" in os.environ:
        path = Path(os.environ["OUT"]) / "token2wav_resident.json"
        path.write_text(json.dumps(TABLE, indent=1))


if __name__ == "__main__":
    main()
