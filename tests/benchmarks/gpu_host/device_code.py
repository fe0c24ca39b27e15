"""Libraries without device code for GPUs that a host does not have.

A CUDA library holds its kernels once for each generation of GPUs, in containers of the driver's
format: a header of 16 bytes, then entries, each a header and its code. The driver chooses an
entry by its header and reads the code of that one alone. So the code of all others may be zeros,
which compress to nothing; what the GPU runs stays byte for byte as it was.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC = struct.pack("<I", 0xBA55ED50)
CONTAINER = struct.Struct("<IHHQ")  # magic, version, bytes of this header, bytes of the entries
ENTRY = struct.Struct("<HHIQ")  # kind, version, bytes of this header, bytes of the code
ARCHITECTURE = struct.Struct("<I")  # 28 bytes into an entry: 90 is sm_90 and sm_90a
ARCHITECTURE_AT = 28
MIN_ENTRY_BYTES = 48
PTX, CUBIN = 1, 2  # kinds: text that a driver compiles, machine code


@dataclass(frozen=True, slots=True)
class Entry:
    """One kernel image of a container."""

    kind: int
    architecture: int
    code_at: int  # bytes from the file's beginning
    code_bytes: int


def keep_architecture(library: Path, architecture: int) -> int:
    """Clear the code in `library` that a GPU of `architecture` (90: Hopper) never runs.

    Returns the bytes cleared, 0 in a file without device code.
    """
    cleared = 0
    with (
        library.open("r+b") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_WRITE) as data,
    ):
        for entries in containers(data):
            for entry in unused(entries, architecture):
                data[entry.code_at : entry.code_at + entry.code_bytes] = bytes(entry.code_bytes)
                cleared += entry.code_bytes
    return cleared


def containers(data: mmap.mmap | bytes) -> Iterator[list[Entry]]:
    """The entries of every container; what only looks like one is passed over."""
    at = data.find(MAGIC)
    while at >= 0:
        entries = _entries(data, at)
        if entries is not None:
            yield entries
        end = _end(data, at) if entries is not None else at + len(MAGIC)
        at = data.find(MAGIC, end)


def unused(entries: list[Entry], architecture: int) -> list[Entry]:
    """What a GPU of `architecture` leaves alone.

    Where a container has no machine code for it, the driver compiles its text, which stays.
    """
    native = [e for e in entries if e.kind == CUBIN and e.architecture == architecture]
    if native:
        return [entry for entry in entries if entry not in native]
    return [entry for entry in entries if entry.kind != PTX or entry.architecture > architecture]


def _end(data: mmap.mmap | bytes, at: int) -> int:
    _, _, header_bytes, entries_bytes = CONTAINER.unpack_from(data, at)
    return int(at + header_bytes + entries_bytes)


def _entries(data: mmap.mmap | bytes, at: int) -> list[Entry] | None:
    """Of the container at `at`; None where there is none, or one of another format."""
    if at + CONTAINER.size > len(data):
        return None
    _, version, header_bytes, _ = CONTAINER.unpack_from(data, at)
    end = _end(data, at)
    if version != 1 or header_bytes != CONTAINER.size or end > len(data):
        return None
    entries, at = [], at + CONTAINER.size
    while at + MIN_ENTRY_BYTES <= end:
        kind, _, header_bytes, code_bytes = ENTRY.unpack_from(data, at)
        (architecture,) = ARCHITECTURE.unpack_from(data, at + ARCHITECTURE_AT)
        code_at = at + header_bytes
        at = code_at + code_bytes
        if kind not in (PTX, CUBIN) or header_bytes < MIN_ENTRY_BYTES or at > end:
            return None
        entries.append(Entry(kind, architecture, code_at, code_bytes))
    return entries if at == end else None
