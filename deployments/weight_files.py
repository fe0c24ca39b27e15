"""Whether a file of weights or settings is whole, from its header and its size alone.

No weight is read and torch is not imported: 17 GB take milliseconds.
"""

import json
import mmap
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open

from deployments.errors import ConfigError

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
# How `torch.save` began before torch 1.6; `torch.load` still reads it.
LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."

Shape = tuple[int, ...]


def require_file(path: Path) -> None:
    """Raises ConfigError that names `path`: missing, unreadable, empty, or a Git LFS pointer."""
    try:
        with path.open("rb") as file:
            head = file.read(len(LFS_POINTER))
    except FileNotFoundError:
        raise ConfigError(f"the model directory lacks {path}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    if not head:
        raise ConfigError(f"{path} is empty")
    if head == LFS_POINTER:
        raise ConfigError(
            f"{path} is a Git LFS pointer and not the file itself; `git lfs pull` fetches it"
        )


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`.

    Raises:
        ConfigError: the file is not there, or holds something else.
    """
    require_file(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON: {one_line(error)}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds no JSON object")
    return found


def require_yaml(path: Path) -> None:
    """Raise ConfigError that names `path` where it holds no YAML mapping; its tags are not read."""
    require_file(path)
    try:
        found = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} is no YAML: {one_line(error)}") from error
    if not isinstance(found, yaml.MappingNode):
        raise ConfigError(f"{path} holds no YAML mapping")


def tensor_shapes(path: Path) -> dict[str, Shape]:
    """The tensors of a safetensors file, by name.

    Raises:
        ConfigError: the file is not there, is cut, or its header is damaged.
    """
    require_file(path)
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path} is cut or damaged: {one_line(error)}") from error


def require_torch_file(path: Path) -> None:
    """Raise ConfigError that names `path` where it cannot be what `torch.save` wrote."""
    require_file(path)
    with path.open("rb") as file:
        if file.read(len(LEGACY_TORCH)) == LEGACY_TORCH:
            return
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} is cut, or no file of torch's: {one_line(error)}") from error
    if not any(name.endswith("/data.pkl") for name in names):
        raise ConfigError(f"{path} is a zip archive, but holds no tensors")


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """What goes into an ONNX model, and how many values come out."""

    inputs: Mapping[str, tuple[int | None, ...]]  # sizes by name; None where one is variable
    outputs: int


def read_onnx_graph(path: Path) -> OnnxGraph:
    """The inputs and outputs of the model in `path`.

    The numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.

    Raises:
        ConfigError: the file is not there, is cut, or is no ONNX.
    """
    require_file(path)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            (graph,) = _messages(data, slice(0, len(data)), 7)
            inputs = dict(_value_info(data, value) for value in _messages(data, graph, 11))
            return OnnxGraph(inputs, len(_messages(data, graph, 12)))
    except (OSError, ValueError, IndexError) as error:
        raise ConfigError(f"{path} is cut, or no ONNX model") from error


def one_line(error: BaseException) -> str:
    """An error's words without line breaks: libraries write pages."""
    return " ".join(str(error).split()) or type(error).__name__


def _value_info(data: mmap.mmap, value: slice) -> tuple[str, tuple[int | None, ...]]:
    """The name and the shape of a ValueInfoProto."""
    (name,) = _messages(data, value, 1)
    shapes = [
        shape
        for kind in _messages(data, value, 2)
        for tensor in _messages(data, kind, 1)
        for shape in _messages(data, tensor, 2)
    ]
    sizes = [dict(_fields(data, size)).get(1) for s in shapes for size in _messages(data, s, 1)]
    return data[name].decode(), tuple(size if isinstance(size, int) else None for size in sizes)


def _messages(data: mmap.mmap, within: slice, number: int) -> list[slice]:
    """Where the strings or messages of one field are."""
    fields = _fields(data, within)
    return [value for found, value in fields if found == number and isinstance(value, slice)]


def _fields(data: mmap.mmap, within: slice) -> Iterator[tuple[int, int | slice]]:
    """Numbers and values of a protobuf message: integers, and where strings and messages are."""
    at = within.start
    while at < within.stop:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        value: int | slice
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 2:
            size, at = _varint(data, at)
            value = slice(at, at + size)
            at += size
        else:
            size = {1: 8, 5: 4}.get(kind, 0)
            value = slice(at, at + size)
            at += size
        if not number or kind not in (0, 1, 2, 5) or at > within.stop:
            raise ValueError("no protobuf")
        yield number, value


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, lowest first, and where the next field begins."""
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("no protobuf")
