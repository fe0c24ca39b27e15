"""Ways in which a recording is damaged; each is drawn, so that a seed brings it again."""

import random
from collections.abc import Callable, Mapping

Damage = Callable[[bytes, random.Random], bytes]
HEADER_BYTES = 64
HOLE_BYTES = 40


def cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(1, len(data))]


def cut_in_front(data: bytes, draw: random.Random) -> bytes:
    return data[draw.randrange(1, len(data)) :]


def hole(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + draw.randbytes(HOLE_BYTES) + data[at + HOLE_BYTES :]


def bits(data: bytes, draw: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(draw.randrange(1, 30)):
        damaged[draw.randrange(len(data))] ^= draw.randrange(1, 256)
    return bytes(damaged)


def lying_header(data: bytes, draw: random.Random) -> bytes:
    """Four bytes of the first ones say a number of their own."""
    at = draw.randrange(4, HEADER_BYTES)
    lie = draw.choice((bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", draw.randbytes(4)))
    return data[:at] + lie + data[at + 4 :]


def joined(data: bytes, draw: random.Random) -> bytes:
    return data * draw.randrange(2, 5)


def joined_with_a_part(data: bytes, draw: random.Random) -> bytes:
    return data + cut(data, draw) + data


def garbage_around(data: bytes, draw: random.Random) -> bytes:
    return draw.randbytes(draw.randrange(5000)) + data + draw.randbytes(draw.randrange(5000))


def nothing_but_garbage(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.choice((0, 4, 12))] + draw.randbytes(draw.randrange(20_000))


DAMAGES: Mapping[str, Damage] = {
    "whole": lambda data, draw: data,
    "cut": cut,
    "without its beginning": cut_in_front,
    "with a hole": hole,
    "with wrong bits": bits,
    "with a lying header": lying_header,
    "joined": joined,
    "joined with a part": joined_with_a_part,
    "with garbage around": garbage_around,
    "garbage": nothing_but_garbage,
}
