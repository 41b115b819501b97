"""From options, of a command line or a file, to a policy and a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..evidence.errors import ScanError, UsageError
from ..policies.load import LoadedPolicy, load_policy
from .models.arch_args import parse_arch_args, parse_architecture
from .request import ScanRequest, TextOptions

REFERENCE_CHECK = "reference-drift"


def read_request(
    *,
    model: Path,
    samples: Path,
    classes_file: Path | None,
    architecture: str | None,
    arch_args: tuple[str, ...] | Mapping[str, Any],
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    size: tuple[int, int] | None,
    policy_name: str,
    device: str,
    seed: int,
    timeout: float | None,
    memory: float | None,
    allow_pickle: bool,
    trust_remote_code: bool,
    base_model: Path | None = None,
    reference: Path | None = None,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    max_length: int | None = None,
    load: Callable[[str], LoadedPolicy] = load_policy,
) -> tuple[LoadedPolicy, ScanRequest]:
    """The policy and the request from the options that every command has that scans. Raises ScanError."""
    loaded = with_limits(load(policy_name), timeout, memory)
    arguments = dict(arch_args) if isinstance(arch_args, Mapping) else parse_arch_args(list(arch_args))
    if reference and REFERENCE_CHECK not in loaded.policy.checks:
        raise UsageError(
            f"--reference {reference}: the policy {policy_name} does not compare with it; add "
            f"`{REFERENCE_CHECK}: {{}}` to its checks"
        )
    if architecture:
        parse_architecture(architecture)
    return loaded, ScanRequest(
        model=model,
        base_model=base_model,
        reference=reference,
        samples=samples,
        policy=loaded.policy,
        architecture=architecture,
        arch_args=arguments,
        classes_file=classes_file,
        mean=mean,
        std=std,
        size=size,
        text=TextOptions(column=text_column, pair_column=pair_column, label_column=label_column, max_length=max_length),
        device=device,
        seed=seed,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )


def with_limits(loaded: LoadedPolicy, timeout: float | None, memory: float | None) -> LoadedPolicy:
    """The policy with the limits of the command line; they change no threshold, so its digest stays."""
    changes = {name: value for name, value in (("timeout", timeout), ("memory", memory)) if value is not None}
    limits = loaded.policy.limits.model_copy(update=changes)
    return replace(loaded, policy=loaded.policy.model_copy(update={"limits": limits}))


def check_names(request: ScanRequest, out: Path | None = None) -> None:
    """A file's name may be any bytes; reports are Unicode and have to name it."""
    for name in (
        request.model, request.samples, request.classes_file, request.architecture, request.reference,
        request.base_model, out,
    ):  # fmt: skip
        try:
            str(name).encode()
        except UnicodeEncodeError:
            told = str(name).encode(errors="surrogateescape").decode(errors="backslashreplace")
            raise ScanError(f"{told}: the name is not valid UTF-8, so no report could hold it: rename it") from None
