"""HTTP by hand, sent as no library would send it: slowly, in part, or with odd bytes."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

READ_WITHIN_S = 180.0
NO_ANSWER = 0


def request(
    method: str, path: str, headers: Sequence[bytes] = (), body: bytes = b"", length: int = -1
) -> bytes:
    """A request whose connection ends with it; `length` may lie about the body."""
    size = len(body) if length < 0 else length
    lines = [
        f"{method} {path} HTTP/1.1".encode(),
        b"Host: soak",
        b"Connection: close",
        b"Content-Length: %d" % size,
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def exchange(
    address: tuple[str, int],
    pieces: Sequence[bytes],
    *,
    between_s: float = 0.0,
    leaves_after_s: float | None = None,
) -> tuple[int, bytes]:
    """Send `pieces` with pauses; gives the answer's status and all of it, or NO_ANSWER.

    A client that leaves does not read; it breaks the connection after that time.
    """
    reader, writer = await asyncio.open_connection(*address)
    try:
        with suppress(ConnectionError):
            await _write(writer, pieces, between_s)
        if leaves_after_s is not None:
            await asyncio.sleep(leaves_after_s)
            return NO_ANSWER, b""
        answer = await asyncio.wait_for(_read(reader), READ_WITHIN_S)
        return (status_of(answer) if answer else NO_ANSWER), answer
    finally:
        writer.transport.abort()


async def _write(writer: asyncio.StreamWriter, pieces: Sequence[bytes], between_s: float) -> None:
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(between_s)


async def _read(reader: asyncio.StreamReader) -> bytes:
    """All of the answer: to the length that it says, or else to the connection's end.

    A proxy may hold a connection for an upload that never comes, long after the answer.
    """
    answer = b""
    with suppress(ConnectionError):
        while not _is_whole(answer) and (piece := await reader.read(1 << 16)):
            answer += piece
    return answer


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    lengths = [line[15:] for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"]
    return bool(end and lengths) and len(body) >= int(lengths[0])


def status_of(answer: bytes) -> int:
    """The status of an HTTP answer."""
    return int(answer.split(b" ", 2)[1])
