"""Chunks: every token is consumed once, in order, and seen with its lookahead."""

import itertools
import random

import pytest
from pydantic import TypeAdapter, ValidationError

from deployments.chunker import Chunk, Chunker, ChunkSchedule


def consumed(chunk: Chunk, lookahead: int) -> tuple[int, ...]:
    return chunk.tokens if chunk.last else chunk.tokens[: len(chunk.tokens) - lookahead]


def test_the_schedule_starts_small_and_grows_to_steady():
    sizes = ChunkSchedule(ramp=(4, 8, 16), steady=25).sizes()
    assert list(itertools.islice(sizes, 6)) == [4, 8, 16, 25, 25, 25]


def test_without_a_ramp_every_chunk_is_steady():
    assert list(itertools.islice(ChunkSchedule(ramp=(), steady=7).sizes(), 3)) == [7, 7, 7]


@pytest.mark.parametrize("length", [1, 2, 3, 12, 13, 14, 35, 36, 200])
@pytest.mark.parametrize("schedule", [ChunkSchedule(), ChunkSchedule(ramp=(1, 2), lookahead=1)])
def test_every_token_is_consumed_exactly_once_however_they_arrive(length, schedule):
    draw = random.Random(length)
    tokens, chunker, chunks, sent = list(range(length)), Chunker(schedule), [], 0
    while sent < length:
        step = draw.randint(1, 9)
        chunks += chunker.push(tokens[sent : sent + step])
        sent += step
    if last := chunker.finish():
        chunks.append(last)
    whole = [token for chunk in chunks for token in consumed(chunk, schedule.lookahead)]
    assert whole == tokens
    assert [chunk.last for chunk in chunks[:-1]] == [False] * (len(chunks) - 1)


def test_missing_tells_what_completes_the_next_chunk():
    chunker = Chunker(ChunkSchedule(ramp=(10,), lookahead=3))
    assert chunker.missing == 13
    assert list(chunker.push(range(12))) == []
    assert chunker.missing == 1
    assert len(list(chunker.push([12]))) == 1


def test_a_stream_without_tokens_has_no_chunk():
    assert Chunker(ChunkSchedule()).finish() is None


@pytest.mark.parametrize("wrong", [{"ramp": (0,)}, {"steady": 0}, {"stedy": 25}])
def test_a_wrong_schedule_is_refused_and_named(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TypeAdapter(ChunkSchedule).validate_python(wrong)
