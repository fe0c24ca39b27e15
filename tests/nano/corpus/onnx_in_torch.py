"""Runs the ONNX graph of a quantised model in torch: on a GPU where ONNX Runtime has none.

Only the operators of Kokoro's graph are here. Weights of 8 bits become float32 once; activations
are not quantised at all: `DynamicQuantizeLinear` gives back what it got, with a scale of 1. What
the graph says about shapes is computed on the CPU, everything else where the floats are.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper
from torch import Tensor

_FLOATS = (1, 10, 11)  # TensorProto.FLOAT, FLOAT16, DOUBLE
_INT32 = 6  # what biases are rounded to before they are added to integer sums; here nothing is
_TYPES = {7: torch.int64, 9: torch.bool, **dict.fromkeys(_FLOATS, torch.float32)}


class OnnxModel:
    """A graph, ready to run on a device."""

    def __init__(self, path: Path, device: torch.device) -> None:
        graph = onnx.load(str(path)).graph
        self._device = device
        self._constants: dict[str, Tensor] = {}
        for initializer in graph.initializer:
            self._constants[initializer.name] = self._placed(numpy_helper.to_array(initializer))
        self._outputs = [output.name for output in graph.output]
        rounded = {n.input[0] for n in graph.node if n.op_type == "Cast" and _to(n) == _INT32}
        for node in graph.node:
            if node.op_type in ("ConvInteger", "MatMulInteger"):
                self._centre(node)
        self._steps = [self._step(node, rounded) for node in graph.node]
        self._last_use = {name: i for i, (_, names, _) in enumerate(self._steps) for name in names}
        self._fold()

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, np.ndarray]) -> list[Tensor]:
        """The graph's outputs, on the device."""
        values = {name: self._placed(value) for name, value in inputs.items()}
        for index, (function, names, results) in enumerate(self._steps):
            outputs = function(*(self._value(values, name) for name in names))
            for name, output in zip(results, outputs, strict=False):
                values[name] = output
            for name in names:
                if self._last_use[name] == index:
                    values.pop(name, None)
        return [self._value(values, name) for name in self._outputs]

    def _value(self, values: Mapping[str, Tensor], name: str) -> Tensor | None:
        if not name:
            return None
        return values[name] if name in values else self._constants[name]

    def _placed(self, array: np.ndarray) -> Tensor:
        """Floats and bytes go to the device; whole numbers, which are shapes and places, stay."""
        tensor = torch.from_numpy(np.array(array))
        if tensor.dtype in (torch.uint8, torch.int8) or tensor.is_floating_point():
            return tensor.to(self._device, torch.float32)
        return tensor

    def _centre(self, node: onnx.NodeProto) -> None:
        """Take the zero point off a weight for good."""
        weight, zero = node.input[1], node.input[3]
        if weight in self._constants and zero in self._constants:
            name = f"{weight} - {zero}"
            self._constants[name] = self._constants[weight] - self._constants[zero]
            node.input[1] = name

    def _step(self, node: onnx.NodeProto, rounded: set[str]) -> Any:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Floor" and node.output[0] in rounded:
            function: Callable[..., Any] = _same
        elif node.op_type == "DynamicQuantizeLSTM":
            function = self._lstm(list(node.input))
        else:
            function = _OPERATORS[node.op_type](attributes)
        names = list(node.input)
        if node.op_type == "DynamicQuantizeLSTM":
            names = names[:1]
        return function, names, list(node.output)

    @torch.inference_mode()
    def _fold(self) -> None:
        """Compute once what depends on constants alone; drop the steps that change nothing."""
        left = []
        aliases: dict[str, str] = {}
        for function, names, results in self._steps:
            names = [aliases.get(name, name) for name in names]
            if function is _same and names[0] not in self._constants:
                aliases[results[0]] = names[0]
                continue
            if all(not name or name in self._constants for name in names):
                outputs = function(*(self._constants.get(name) for name in names))
                self._constants.update(zip(results, outputs, strict=False))
            else:
                left.append((function, names, results))
        self._steps = left
        self._last_use = {name: i for i, (_, names, _) in enumerate(left) for name in names}

    def _lstm(self, names: Sequence[str]) -> Callable[..., Any]:
        """Bidirectional, from zero states. ONNX orders the gates i, o, f, c; torch i, f, g, o."""
        kernel, recurrent, bias = (self._constants[name] for name in names[1:4])
        scales = [self._constants[name] for name in names[8:12]]
        kernel = (kernel - scales[1][:, None, None]) * scales[0][:, None, None]
        recurrent = (recurrent - scales[3][:, None, None]) * scales[2][:, None, None]
        hidden = recurrent.shape[1]
        module = torch.nn.LSTM(kernel.shape[1], hidden, bidirectional=True).to(self._device)
        order = torch.cat([torch.arange(hidden) + gate * hidden for gate in (0, 2, 3, 1)])
        with torch.no_grad():
            for way, suffix in enumerate(("", "_reverse")):
                inner, outer = bias[way].chunk(2)
                for name, value in (
                    ("weight_ih_l0", kernel[way].T),
                    ("weight_hh_l0", recurrent[way].T),
                    ("bias_ih_l0", inner),
                    ("bias_hh_l0", outer),
                ):
                    getattr(module, name + suffix).copy_(value[order.to(value.device)])
        module.flatten_parameters()

        def run(x: Tensor) -> tuple[Tensor]:
            out, _ = module(x)  # [T, B, 2 hidden]
            return (out.unflatten(2, (2, hidden)).transpose(1, 2),)

        return run


def _to(node: onnx.NodeProto) -> int:
    return int(next(a.i for a in node.attribute if a.name == "to"))


def _same(x: Tensor) -> tuple[Tensor]:
    return (x,)


def _together(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor]]:
    """A function of tensors, called with all of them where one of them is on a GPU."""

    def run(*tensors: Tensor) -> tuple[Tensor]:
        on = next((t.device for t in tensors if t is not None and t.is_cuda), None)
        if on is not None:
            tensors = tuple(t if t is None or t.is_cuda else t.to(on) for t in tensors)
        return (function(*tensors),)

    return run


def _plain(function: Callable[..., Tensor]) -> Callable[[dict], Callable[..., tuple[Tensor]]]:
    together = _together(function)
    return lambda attributes: together


def _whole(tensor: Tensor) -> list[int]:
    return [int(value) for value in tensor.flatten().tolist()]


def _divided(a: Tensor, b: Tensor) -> Tensor:
    if a.is_floating_point() or b.is_floating_point():
        return a / b
    return torch.div(a, b, rounding_mode="trunc")


def _cast(attributes: dict) -> Callable[..., Any]:
    to = attributes["to"]
    return _same if to == _INT32 else lambda x: (x.to(_TYPES[to]),)


def _unsqueezed(x: Tensor, axes: Tensor) -> tuple[Tensor]:
    for axis in _whole(axes):
        x = x.unsqueeze(axis)
    return (x,)


def _squeezed(x: Tensor, axes: Tensor) -> tuple[Tensor]:
    for axis in sorted(_whole(axes), reverse=True):
        x = x.squeeze(axis)
    return (x,)


def _reshaped(x: Tensor, shape: Tensor) -> tuple[Tensor]:
    sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(_whole(shape))]
    return (x.reshape(sizes),)


def _gather(attributes: dict) -> Callable[..., Any]:
    axis = attributes.get("axis", 0)

    def run(x: Tensor, at: Tensor) -> tuple[Tensor]:
        count = x.shape[axis]
        if at.dim() == 0 and not at.is_cuda:
            return (x.select(axis, int(at)),)
        at = torch.where(at < 0, at + count, at).to(x.device)
        return (x.index_select(axis, at.flatten()).unflatten(axis, tuple(at.shape)),)

    return run


def _concatenated(attributes: dict) -> Callable[..., Any]:
    axis = attributes["axis"]
    return _together(lambda *parts: torch.cat(parts, axis))


def _split(attributes: dict) -> Callable[..., Any]:
    axis = attributes.get("axis", 0)
    return lambda x, sizes: x.split(_whole(sizes), axis)


def _slice(
    x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> tuple[Tensor]:
    first, last = _whole(starts), _whole(ends)
    over = list(range(len(first))) if axes is None else _whole(axes)
    by = [1] * len(first) if steps is None else _whole(steps)
    for axis, start, end, step in zip(over, first, last, by, strict=True):
        chosen = range(x.shape[axis])[slice(start, end if abs(end) < 2**62 else None, step)]
        if step == 1:
            x = x.narrow(axis, chosen.start, len(chosen))
        else:
            x = x.index_select(axis, torch.tensor(list(chosen), device=x.device))
    return (x,)


def _padded(attributes: dict) -> Callable[..., Any]:
    def run(x: Tensor, pads: Tensor, *_: Tensor) -> tuple[Tensor]:
        sizes = _whole(pads)
        half = len(sizes) // 2
        pairs = [n for i in reversed(range(half)) for n in (sizes[i], sizes[half + i])]
        while len(pairs) > 2 and pairs[-2:] == [0, 0]:
            pairs = pairs[:-2]
        return (F.pad(x, pairs, mode="reflect"),)

    return run


def _mean(attributes: dict) -> Callable[..., Any]:
    return lambda x, axes: (x.mean(_whole(axes), keepdim=bool(attributes["keepdims"])),)


def _sum(attributes: dict) -> Callable[..., Any]:
    return lambda x, axes: (x.sum(_whole(axes), keepdim=bool(attributes["keepdims"])),)


def _filled(attributes: dict) -> Callable[..., Any]:
    value = numpy_helper.to_array(attributes["value"])[0]
    return lambda shape: (torch.full(_whole(shape), float(value)),)


def _layer_norm(attributes: dict) -> Callable[..., Any]:
    epsilon = attributes["epsilon"]
    return lambda x, w, b: (F.layer_norm(x, x.shape[-1:], w, b, epsilon),)


def _skip_layer_norm(attributes: dict) -> Callable[..., Any]:
    epsilon = attributes["epsilon"]
    return lambda x, skip, w, b: (F.layer_norm(x + skip, x.shape[-1:], w, b, epsilon),)


def _convolution(attributes: dict) -> Callable[..., Any]:
    (stride,), (dilation,) = attributes["strides"], attributes["dilations"]
    padding = attributes["pads"][0]

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor]:
        return (convolved(x, weight, bias, stride, padding, dilation),)

    return run


def convolved(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, dilation: int
) -> Tensor:
    """`conv1d` of [1, C, T] as one product: cuDNN would plan anew for every length it meets."""
    outputs, inputs, kernel = weight.shape
    if kernel == 1 and stride == 1:
        made = weight[:, :, 0] @ x
    else:
        padded = F.pad(x, (padding, padding))[0].contiguous()  # [C, T + 2 padding]
        width = padded.shape[1]
        count = (width - dilation * (kernel - 1) - 1) // stride + 1
        columns = padded.as_strided((inputs, kernel, count), (width, dilation, stride))
        made = (weight.reshape(outputs, -1) @ columns.reshape(inputs * kernel, count))[None]
    return made if bias is None else made + bias[:, None]


def _integer_convolution(attributes: dict) -> Callable[..., Any]:
    run = _convolution(attributes)
    return lambda x, weight, *_: run(x, weight)


def _transposed_convolution(attributes: dict) -> Callable[..., Any]:
    (stride,), (dilation,) = attributes["strides"], attributes["dilations"]
    padding, groups = attributes["pads"][0], attributes["group"]
    (more,) = attributes.get("output_padding", [0])

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor]:
        if groups > 1:
            return (F.conv_transpose1d(x, weight, bias, stride, padding, more, groups, dilation),)
        return (unconvolved(x, weight, bias, stride, padding, more),)

    return run


def unconvolved(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, more: int
) -> Tensor:
    """`conv_transpose1d` of [1, C, T], likewise as one product."""
    inputs, outputs, kernel = weight.shape
    columns = weight.reshape(inputs, outputs * kernel).T @ x  # [1, outputs * kernel, T]
    width = (x.shape[2] - 1) * stride - 2 * padding + kernel + more
    folded = F.fold(columns, (1, width), (1, kernel), padding=(0, padding), stride=(1, stride))
    return folded[:, :, 0] if bias is None else folded[:, :, 0] + bias[:, None]


def _fused_matmul(attributes: dict) -> Callable[..., Any]:
    alpha, first = attributes["alpha"], attributes["transA"]
    return _together(lambda a, b: alpha * ((a.transpose(-1, -2) if first else a) @ b))


def _resized(attributes: dict) -> Callable[..., Any]:
    mode = attributes["mode"].decode()
    smooth = {"align_corners": False} if mode == "linear" else {}

    def run(x: Tensor, _: Tensor | None, scales: Tensor) -> tuple[Tensor]:
        factors = [float(v) for v in scales.tolist()]
        size = int(np.floor(x.shape[2] * factors[2]))
        factor = {"size": size} if mode == "nearest" else {"scale_factor": factors[2]}
        return (F.interpolate(x, mode=mode, **factor, **smooth),)

    return run


def _stft(attributes: dict) -> Callable[..., Any]:
    def run(signal: Tensor, step: Tensor, window: Tensor, length: Tensor) -> tuple[Tensor]:
        n = int(length)
        spectrum = torch.stft(
            signal.flatten(1), n, int(step), n, window.to(signal.device),
            center=False, return_complex=True,
        )  # fmt: skip
        return (torch.view_as_real(spectrum.transpose(1, 2)),)

    return run


def _scattered(x: Tensor, at: Tensor, updates: Tensor) -> Tensor:
    result = x.clone()
    result[tuple(at.movedim(-1, 0))] = updates
    return result


def _clipped(x: Tensor, low: Tensor, high: Tensor | None = None) -> tuple[Tensor]:
    return (x.clamp(min=low.item(), max=None if high is None else high.item()),)


_OPERATORS: Mapping[str, Callable[[dict], Callable[..., Any]]] = {
    "Add": _plain(torch.add),
    "Sub": _plain(torch.sub),
    "Mul": _plain(torch.mul),
    "Div": _plain(_divided),
    "Pow": _plain(torch.pow),
    "Sqrt": _plain(torch.sqrt),
    "Floor": _plain(torch.floor),
    "Round": _plain(torch.round),
    "Exp": _plain(torch.exp),
    "Sin": _plain(torch.sin),
    "Cos": _plain(torch.cos),
    "Atan": _plain(lambda x: torch.atan(x).nan_to_num()),  # the angle of 0 / 0 is 0
    "Tanh": _plain(torch.tanh),
    "Sigmoid": _plain(torch.sigmoid),
    "And": _plain(torch.logical_and),
    "Equal": _plain(torch.eq),
    "Less": _plain(torch.lt),
    "Greater": _plain(torch.gt),
    "GreaterOrEqual": _plain(torch.ge),
    "Where": _plain(torch.where),
    "MatMul": _plain(torch.matmul),
    "MatMulInteger": lambda attributes: lambda a, b, *_: (a @ b,),
    "ScatterND": _plain(_scattered),
    "FusedMatMul": _fused_matmul,
    "Cast": _cast,
    "Clip": lambda attributes: _clipped,
    "Concat": _concatenated,
    "Split": _split,
    "Slice": lambda attributes: _slice,
    "Gather": _gather,
    "Shape": lambda attributes: lambda x: (torch.tensor(x.shape),),
    "Reshape": lambda attributes: _reshaped,
    "Unsqueeze": lambda attributes: _unsqueezed,
    "Squeeze": lambda attributes: _squeezed,
    "Transpose": lambda attributes: lambda x: (x.permute(attributes["perm"]),),
    "Expand": lambda attributes: (
        lambda x, shape: (x.expand(torch.broadcast_shapes(x.shape, _whole(shape))),)
    ),
    "ConstantOfShape": _filled,
    "Range": lambda attributes: (
        lambda first, last, step: (torch.arange(int(first), int(last), int(step)),)
    ),
    "CumSum": lambda attributes: lambda x, axis: (x.cumsum(int(axis)),),
    "NonZero": lambda attributes: lambda x: (x.nonzero().T,),
    "Pad": _padded,
    "Resize": _resized,
    "ReduceMean": _mean,
    "ReduceSum": _sum,
    "Softmax": lambda attributes: lambda x: (x.softmax(attributes["axis"]),),
    "LeakyRelu": lambda attributes: lambda x: (F.leaky_relu(x, attributes["alpha"]),),
    "FastGelu": lambda attributes: lambda x, bias: (F.gelu(x + bias, approximate="tanh"),),
    "LayerNormalization": _layer_norm,
    "SkipLayerNormalization": _skip_layer_norm,
    "DequantizeLinear": lambda attributes: lambda x, scale, zero: ((x - zero) * scale,),
    "DynamicQuantizeLinear": lambda attributes: (
        lambda x: (x, _ONE.to(x.device), _ZERO.to(x.device))
    ),
    "Conv": _convolution,
    "ConvInteger": _integer_convolution,
    "ConvTranspose": _transposed_convolution,
    "STFT": _stft,
}
_ONE, _ZERO = torch.ones(()), torch.zeros(())
