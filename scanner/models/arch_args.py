"""The torch-free half of --architecture: parsing what the user typed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from ...evidence.errors import UsageError


@dataclass(frozen=True)
class ArchitectureSpec:
    """`where` is a model's name in torchvision or timm, a dotted module or a file's path; `name` the callable in it."""

    kind: Literal["torchvision", "timm", "module", "file"]
    where: str
    name: str


def parse_architecture(spec: str) -> ArchitectureSpec:
    """Take `torchvision:resnet18`, `timm:resnet18`, `package.module:callable` or `path/to/file.py:callable` apart.

    Raises UsageError for anything else.
    """
    library, _, rest = spec.partition(":")
    if library == "timm":
        if not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)?", rest):  # timm itself would take hf-hub: and local-dir:
            raise UsageError(
                f"--architecture {spec} names no model that timm itself has, and nothing is downloaded: give a name "
                "of timm.list_models(), for example timm:resnet18"
            )
        return ArchitectureSpec("timm", rest, rest)
    where, _, name = spec.rpartition(":")
    if where and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
        if where == "torchvision":
            return ArchitectureSpec("torchvision", name, name)
        if where.endswith(".py"):
            return ArchitectureSpec("file", where, name)
        if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", where):
            return ArchitectureSpec("module", where, name)
    raise UsageError(
        f"--architecture {spec} is none of torchvision:NAME, timm:NAME, package.module:callable and "
        "path/to/file.py:callable"
    )


def trusted_modules(spec: str | None) -> tuple[str, ...]:
    """Top-level modules that a user who names this architecture runs anyway; for `Evidence.trusted_modules`.

    Raises UsageError for a spec that cannot be parsed.
    """
    if spec is None:
        return ()
    parsed = parse_architecture(spec)
    if parsed.kind in ("torchvision", "timm"):
        return ()
    return (Path(parsed.where).stem if parsed.kind == "file" else parsed.where.split(".")[0],)


def parse_arch_args(arguments: Iterable[str]) -> dict[str, object]:
    """`["num_classes=10", "pretrained=false"]` -> keyword arguments; each value is read as a YAML scalar.

    Raises UsageError for an argument without `=`, a key that is no name, a key given twice, or broken YAML.
    """
    result: dict[str, object] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--arch-arg {argument} is not of the form KEY=VALUE")
        if key in result:
            raise UsageError(f"--arch-arg {key} is given twice")
        try:
            result[key] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a 13th month, thousands of digits
            raise UsageError(f"--arch-arg {argument[:200]}: the value is not valid YAML, put it into quotes") from None
    return result
