"""The shapes of a step: captured once, filled with rows, replayed."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from deployments.token2wav.resident.memory import Arena, Measure, allocator
from deployments.token2wav.resident.places import Place
from deployments.token2wav.resident.resident_encoder import EncoderBuffers
from deployments.token2wav.resident.resident_model import Buffers, ResidentModel
from deployments.token2wav.resident.resident_sizes import ResidentSizes
from deployments.token2wav.resident.resident_solver import SolverBuffers
from deployments.token2wav.resident.step_rows import StepRows
from deployments.token2wav.resident.streams import ResidentVoice, enter_voice


class Shape:
    """One size of step: its rows, its buffers, and its graph once it is captured."""

    def __init__(self, model: ResidentModel, rows: int, frames: int, buffers: Buffers) -> None:
        self.count, self.frames = rows, frames
        self.rows = StepRows(rows, frames, model.limits, model.device)
        self.buffers = buffers
        self.graph: torch.cuda.CUDAGraph | None = None
        emitted, pcm = buffers.vocoder.emitted, buffers.vocoder.pcm
        pinned = model.device.type == "cuda"
        self._emitted = torch.zeros(emitted.shape, dtype=emitted.dtype, pin_memory=pinned)
        on_host = self._emitted.numpy()
        self._pcm: NDArray[np.int16] = on_host[: pcm.numel()].reshape(pcm.shape)
        self._broken: NDArray[np.int16] = on_host[pcm.numel() :].reshape(rows, -1)

    def fetch(self) -> None:
        """Send PCM and what is said of it to the host, in the order of the current stream."""
        self._emitted.copy_(self.buffers.vocoder.emitted, non_blocking=True)

    @property
    def fetched(self) -> "Emitted":
        """What was fetched last. Its PCM is overwritten by the next run of this shape."""
        return Emitted(self._pcm, self._broken.max(axis=1) == 0)


class Emitted(NamedTuple):
    """What a step made of its rows, on the host."""

    pcm: NDArray[np.int16]  # [rows, samples]
    finite: NDArray[np.bool_]  # [rows] whether every sample was a number


class Shapes:
    """Every captured shape, smallest first, and the stream on which they run."""

    def __init__(self, model: ResidentModel, sizes: ResidentSizes) -> None:
        self._model = model
        captured = [(rows, frames) for rows in sizes.rows for frames in sizes.chunk_frames]
        measure = Measure()
        most = max(sizes.rows), max(sizes.chunk_frames)
        for size in (most, (1, most[1])):  # attention takes scratch for few rows only
            one = Measure()
            Buffers(model, *size, one.take)
            measure.size = max(measure.size, one.size)
        self._arena = Arena(measure.size + (64 << 20), model.device)
        self._shapes: dict[tuple[int, int], Shape] = {}
        for rows, frames in sorted(captured):
            self._arena.restart()
            buffers = Buffers(model, rows, frames, self._arena.take)
            self._shapes[rows, frames] = Shape(model, rows, frames, buffers)
        cuda = model.device.type == "cuda"
        self._stream = torch.cuda.Stream(model.device, priority=-1) if cuda else None

    def capture(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Compile every kernel, capture every shape and replay it; nothing to do on a CPU."""
        if self._stream is None:
            return
        pool = torch.cuda.graph_pool_handle()
        self._stream.wait_stream(torch.cuda.current_stream(self._model.device))
        # the largest first: the smaller ones find its work space free
        for done, shape in enumerate(reversed(self._shapes.values()), 1):
            with torch.cuda.stream(self._stream):
                self._compute(shape)  # compiles, and lets cuBLAS take its work space
                self._stream.synchronize()
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=pool, stream=self._stream):
                    self._compute(shape)
                graph.replay()  # the first replay uploads the graph: not for a listener to wait
                shape.fetch()
                self._stream.synchronize()
            shape.graph = graph
            if progress is not None:
                progress(done, len(self._shapes))

    def fit(self, rows: int, frames: int) -> Shape:
        """The smallest captured shape of at least these sizes; a new one if there is none."""
        for (most_rows, most_frames), shape in self._shapes.items():
            if rows <= most_rows and frames <= most_frames:
                return shape
        with self._running():
            buffers = Buffers(self._model, rows, frames, allocator(self._model.device))
            return Shape(self._model, rows, frames, buffers)

    def run(self, shape: Shape) -> Emitted:
        """Compute what `shape.rows` holds."""
        if self._stream is None:
            shape.rows.upload()
            self._compute(shape)
            shape.fetch()
            return shape.fetched
        with torch.cuda.stream(self._stream):
            shape.rows.upload()
            if shape.graph is not None:
                shape.graph.replay()
            else:
                self._compute(shape)
            shape.fetch()
        self._finish()
        return shape.fetched

    def prepare(self, voice: ResidentVoice, place: Place) -> Iterator[None]:
        """Run the encoder and the solve over a voice's prompt, into `place`, piece by piece.

        Steps may run after each piece. Each piece writes into `place`: the caller runs none once
        `place` may belong to another.

        Raises:
            ValueError: codes and mel do not make a prompt.
            FloatingPointError: what the flow makes of them is not finite.
        """
        model = self._model
        count = len(voice.codes)
        frames = count * model.frames_per_token
        if count < model.limits.lookahead or len(voice.mel) != frames:
            raise ValueError(f"{count} codes and {len(voice.mel)} mel frames make no prompt")
        with self._piece():
            rows = StepRows(1, frames, model.limits, model.device)
            enter_voice(voice, place, rows, model.limits.lookahead)
            rows.upload()
            take = allocator(model.device)
            encoder = EncoderBuffers(model.encoder, 1, count, take)
            solver = SolverBuffers(model.solver, 1, frames, take)
            solver.condition = voice.mel[None].to(solver.mu)
            speaker = model.project_speaker(voice.embedding)
            model.solver_pool.speakers[place.slots[0]] = model.solver.speaker_part(speaker)
            model.encoder.encode(encoder, model.encoder_pool, rows.encoder, solver.mu)
            model.solver.begin(solver, rows.solver)
        for step in range(model.solver.steps):
            yield
            with self._piece():
                model.solver.euler_step(solver, model.solver_pool, rows.solver, step)
        with self._piece():
            # every key and value of the prompt went into every frame
            finite = bool(solver.mel.isfinite().all())
        if not finite:
            raise FloatingPointError("the prompt makes the flow overflow")

    @contextmanager
    def _piece(self) -> Iterator[None]:
        """Work that the GPU has done when the block ends: no step waits behind what is queued."""
        with torch.inference_mode(), self._running():
            yield
        self._finish()

    def _finish(self) -> None:
        """Wait for the engine's own stream."""
        if self._stream is None:
            return
        # blocking: the thread sleeps instead of spinning beside the event loop
        done = torch.cuda.Event(blocking=True)
        done.record(self._stream)
        done.synchronize()

    def _running(self) -> AbstractContextManager[object]:
        """Work is queued on the engine's own stream."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _compute(self, shape: Shape) -> None:
        self._model.encode_and_solve(shape.buffers, shape.rows)
        self._model.vocode(shape.buffers, shape.rows)
