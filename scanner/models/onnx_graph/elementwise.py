"""Operators that work on each element by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .node import OPERATORS, Node, operator

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "BitwiseNot": torch.bitwise_not,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": F.hardswish,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Mish": F.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}
_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "Sub": torch.sub,
    "Xor": torch.logical_xor,
}
_VARIADIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Max": torch.maximum,
    "Min": torch.minimum,
    "Sum": torch.add,
}
TYPES = {  # onnx.TensorProto.DataType
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}


def _enter() -> None:
    def unary(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
        return lambda node, x: function(x)

    def binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
        return lambda node, a, b: function(a, b)

    def variadic(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
        return lambda node, *inputs: reduce(function, inputs)

    OPERATORS.update({("", name): unary(function) for name, function in _UNARY.items()})
    OPERATORS.update({("", name): binary(function) for name, function in _BINARY.items()})
    OPERATORS.update({("", name): variadic(function) for name, function in _VARIADIC.items()})


_enter()


@operator("Identity", "Dropout")
def identity(node: Node, x: Tensor, *ignored: Any) -> tuple[Tensor, ...]:
    """Dropout does nothing at inference; its second output is the mask."""
    return (x, torch.ones_like(x, dtype=torch.bool))[: max(1, len(node.outputs))]


@operator("Mean")
def mean(node: Node, *inputs: Tensor) -> Tensor:
    """Of several tensors, element by element."""
    return reduce(torch.add, inputs) / len(inputs)


@operator("Div")
def divide(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """Whole numbers are divided toward zero."""
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


@operator("Pow")
def power(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """The type is that of the base."""
    return torch.pow(a, b).to(a.dtype)


@operator("Mod")
def modulo(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """With `fmod` the sign is the dividend's, without the divisor's."""
    return torch.fmod(a, b) if node.get("fmod", 0) else torch.remainder(a, b)


@operator("Where")
def where(node: Node, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Chooses element by element."""
    return torch.where(condition, a, b)


@operator("Cast")
def cast(node: Node, x: Tensor) -> Tensor:
    """To another type; half precision stays full, as everything here is computed in it."""
    wanted = TYPES.get(node.get("to"))
    if wanted is None:
        raise ValueError(f"type {node.get('to')} of the ONNX standard is not supported")
    return x.to(torch.float32 if wanted in (torch.float16, torch.bfloat16) else wanted)


@operator("CastLike")
def cast_like(node: Node, x: Tensor, like: Tensor) -> Tensor:
    """To the type of another tensor."""
    return x.to(like.dtype)


@operator("Clip")
def clip(node: Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Bounds are attributes up to opset 10, inputs after."""
    lowest, highest = (node.get(name) if bound is None else bound for name, bound in (("min", low), ("max", high)))
    if lowest is not None:
        x = torch.maximum(x, torch.as_tensor(lowest, dtype=x.dtype, device=x.device))
    return x if highest is None else torch.minimum(x, torch.as_tensor(highest, dtype=x.dtype, device=x.device))


@operator("LeakyRelu")
def leaky_relu(node: Node, x: Tensor) -> Tensor:
    """A slope of `alpha` below zero."""
    return F.leaky_relu(x, node.get("alpha", 0.01))


@operator("PRelu")
def prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    """The slope broadcasts."""
    return torch.where(x < 0, x * slope, x)


@operator("Elu")
def elu(node: Node, x: Tensor) -> Tensor:
    """`alpha * (exp(x) - 1)` below zero."""
    return F.elu(x, node.get("alpha", 1.0))


@operator("Celu")
def celu(node: Node, x: Tensor) -> Tensor:
    """`alpha * (exp(x / alpha) - 1)` below zero."""
    return F.celu(x, node.get("alpha", 1.0))


@operator("Selu")
def selu(node: Node, x: Tensor) -> Tensor:
    """`gamma * alpha * (exp(x) - 1)` below zero, `gamma * x` above."""
    alpha, gamma = node.get("alpha", 1.6732632423543772), node.get("gamma", 1.0507009873554805)
    scaled: Tensor = torch.where(x > 0, x, torch.expm1(x.clamp(max=0)) * alpha) * gamma
    return scaled


@operator("ThresholdedRelu")
def thresholded_relu(node: Node, x: Tensor) -> Tensor:
    """Zero up to `alpha`."""
    return torch.where(x > node.get("alpha", 1.0), x, torch.zeros_like(x))


@operator("Shrink")
def shrink(node: Node, x: Tensor) -> Tensor:
    """Zero within `lambd` of zero, nearer to it by `bias` outside."""
    edge, bias = node.get("lambd", 0.5), node.get("bias", 0.0)
    return torch.where(x < -edge, x + bias, torch.where(x > edge, x - bias, torch.zeros_like(x)))


@operator("HardSigmoid")
def hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    """`alpha * x + beta` within 0..1."""
    line: Tensor = x * node.get("alpha", 0.2) + node.get("beta", 0.5)
    return line.clamp(0, 1)


@operator("Gelu")
def gelu(node: Node, x: Tensor) -> Tensor:
    """Exact, or by tanh."""
    return F.gelu(x, approximate=node.get("approximate", "none"))


@operator("Swish")
def swish(node: Node, x: Tensor) -> Tensor:
    """`x * sigmoid(alpha * x)`."""
    return x * torch.sigmoid(node.get("alpha", 1.0) * x)


@operator("BitShift")
def bit_shift(node: Node, x: Tensor, by: Tensor) -> Tensor:
    """Left or right."""
    return x << by if node.get("direction") == "LEFT" else x >> by


@operator("IsInf")
def is_infinite(node: Node, x: Tensor) -> Tensor:
    """Of one sign or both."""
    low, high = node.get("detect_negative", 1), node.get("detect_positive", 1)
    return ((x == -math.inf) & bool(low)) | ((x == math.inf) & bool(high))
