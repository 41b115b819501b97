"""Option values that need more than click's own types."""

from __future__ import annotations

import math
import re

import click
from click.shell_completion import CompletionItem

from ..models.placement import DEVICES


class FloatsType(click.ParamType[tuple[float, ...]]):
    """`0.49,0.48,0.45`: one finite number a channel, or one for all."""

    name = "numbers"

    def __init__(self, *, positive: bool = False) -> None:
        self.positive = positive

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers like 0.49,0.48,0.45", param, ctx)
        if not all(math.isfinite(number) for number in numbers):
            self.fail(f"{value!r} holds a number that is not finite", param, ctx)
        if self.positive and min(numbers) <= 0:
            self.fail(f"{value!r} holds a number that is not above 0", param, ctx)
        if max(abs(number) for number in numbers) > 10:
            self.fail(f"{value!r} looks like 0..255 pixel units: divide by 255, pixels are taken as 0..1", param, ctx)
        return numbers


class SizeType(click.ParamType[tuple[int, int]]):
    """`32` or `32x48` (height x width), in pixels."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", str(value))
        if not match or not int(match[1]) or (match[2] and not int(match[2])):
            self.fail(f"{value!r} is not a size in pixels like 32 or 32x48 (height x width)", param, ctx)
        return int(match[1]), int(match[2] or match[1])


class LimitType(click.ParamType[float]):
    """A number above 0 that bounds something: `nan` and `inf` would not."""

    name = "limit"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        if not 0 < number <= 1e9:
            self.fail(f"{value!r} is not a number above 0 and at most 1e9", param, ctx)
        return number


class DeviceType(click.ParamType[str]):
    """`auto`, `cpu`, `cuda`, `cuda:N` or several GPUs by `+`; whether they are there is seen when the scan starts."""

    name = "device"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(DEVICES, str(value)):
            self.fail(f"{value!r} is none of auto, cpu, cuda, cuda:N, cuda:N+cuda:M", param, ctx)
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in ("auto", "cpu", "cuda") if name.startswith(incomplete)]


class PolicyType(click.ParamType[str]):
    """The name of a built-in policy, or a file."""

    name = "policy"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from ...policies.load import built_in_names

        names = [CompletionItem(name) for name in built_in_names() if name.startswith(incomplete)]
        return names or [CompletionItem(incomplete, type="file")]
