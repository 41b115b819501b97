"""`ebyd-scan init`: writes a project file by asking, or from flags."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from ...evidence.errors import ScanError, UsageError
from ..models.arch_args import parse_arch_args, parse_architecture
from ..project.draft import Draft, find_models, find_samples, needs_architecture, text_of
from ..project.load import entries_of
from ..project.model import PROJECT_FILE
from ..reports.formats import FORMATS
from ..reports.printable import one_line
from ..reports.write import check_writable, write_atomically
from ..request import TEXT_TABLES
from .options import DeviceType, FloatsType, PolicyType, SizeType
from .run import as_failure

EXAMPLES = """\b
Examples:
  ebyd-scan init                       # asks, with what lies in the folder as defaults
  ebyd-scan init model.onnx --samples clean/ --size 224
  ebyd-scan init a.safetensors b.safetensors --samples clean.npz \\
      --architecture torchvision:resnet18 --arch-arg num_classes=10 --report junit

\b
Exit codes: 0 written, 2 usage wrong or the file is there already, 3 it cannot be written.
"""
_SHOWN = 8  # models that are offered as a default


@click.command("init", epilog=EXAMPLES)
@click.argument("models", nargs=-1, metavar="[MODEL]...", type=click.Path(path_type=Path))
@click.option("--samples", type=click.Path(path_type=Path), metavar="PATH", help="Clean labelled samples, for all.")
@click.option("--classes", type=click.Path(path_type=Path), metavar="FILE", help="As for `scan`, and so are the next.")
@click.option("--architecture", metavar="SPEC")
@click.option("--arch-arg", "arch_args", multiple=True, metavar="KEY=VALUE")
@click.option("--base-model", type=click.Path(path_type=Path), metavar="FOLDER")
@click.option("--mean", type=FloatsType(), metavar="R,G,B")
@click.option("--std", type=FloatsType(positive=True), metavar="R,G,B")
@click.option("--size", type=SizeType(), metavar="N|HxW")
@click.option("--policy", type=PolicyType(), metavar="NAME|FILE")
@click.option("--device", type=DeviceType(), metavar="auto|cpu|cuda[:N]")
@click.option(
    "--report",
    "reports",
    multiple=True,
    type=click.Choice(list(FORMATS)),
    help="Write this report of each model into reports/; may be repeated.  [default: json, junit]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path(PROJECT_FILE),
    show_default=True,
    metavar="FILE",
    help="Where to write it.",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def init(
    models: tuple[Path, ...],
    samples: Path | None,
    architecture: str | None,
    reports: tuple[str, ...],
    output: Path,
    force: bool,
    **options: Any,
) -> None:
    """Write ebyd-scan.yaml: the models of a project and how to scan them.

    On a terminal it asks for what is not given, unless both a MODEL and --samples are. Without one, models and samples
    that are not given are those that are found in the current folder, three levels deep. A file that is there is not
    replaced without --force.
    """
    asks = sys.stdin is not None and sys.stdin.isatty() and not (models and samples)
    try:
        _check_output(output, force)
        draft = Draft(list(models), samples, architecture, _options(options), reports or ("json", "junit"))
        _ask(draft) if asks else _find(draft)
        _check(draft, output)
        text = text_of(draft, output.parent)
        entries = entries_of(text.encode(), output)
        _write(output, text, force)
    except ScanError as problem:
        raise as_failure(problem) from problem
    count = f"{len(entries)} model{'s' * (len(entries) != 1)}"
    where = "" if output == Path(PROJECT_FILE) else f" --project {shlex.quote(str(output))}"
    click.echo(f"{output}: written, {count}: {', '.join(entry.name for entry in entries)}.")
    missing = [str(path) for path in (*draft.models, draft.samples) if path is not None and not path.exists()]
    if missing:
        click.echo(f"Not there yet: {one_line(', '.join(missing))}.")
    if draft.architecture is None and (bare := [str(path) for path in draft.models if needs_architecture(path)]):
        click.echo(f"If a file holds weights only, give it an `architecture`: {one_line(', '.join(bare))}.")
    click.echo(f"Look it over, then run `ebyd-scan scan{where}`; `--only {entries[0].name}` scans one model.")


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """The flags as the file has them."""
    size = given["size"]
    return {
        "classes": given["classes"] and str(given["classes"]),
        "arch-args": parse_arch_args(list(given["arch_args"])) or None,
        "base-model": given["base_model"] and str(given["base_model"]),
        "mean": _plain(given["mean"]),
        "std": _plain(given["std"]),
        "size": size and (size[0] if size[0] == size[1] else list(size)),
        "policy": given["policy"],
        "device": given["device"],
    }


def _plain(numbers: tuple[float, ...] | None) -> float | list[float] | None:
    return None if numbers is None else numbers[0] if len(numbers) == 1 else list(numbers)


def _find(draft: Draft) -> None:
    """What is not given is what lies here. Raises UsageError where nothing does."""
    draft.models = draft.models or find_models(Path())
    if not draft.models:
        raise UsageError("no model was named, and none was found here: `ebyd-scan init MODEL... --samples PATH`")
    if draft.samples is None:
        found = find_samples(Path())
        if not found:
            raise UsageError("no clean samples were named, and none were found here: give them with --samples")
        draft.samples = found[0]


def _ask(draft: Draft) -> None:
    if not draft.models:
        found = find_models(Path())[:_SHOWN]
        default = shlex.join(map(str, found)) or None
        draft.models = [Path(one) for one in _words(_prompt("Model files or folders, with blanks between", default))]
    if draft.samples is None:
        samples = find_samples(Path())
        draft.samples = Path(_prompt("Clean labelled samples", str(samples[0]) if samples else None))
    if draft.architecture is None and any(map(needs_architecture, draft.models)):
        draft.architecture = (
            _prompt("Architecture, for files that hold weights only (empty: they bring their own)", "") or None
        )
        if draft.architecture and not draft.options["arch-args"]:
            said = _words(_prompt("Its arguments, KEY=VALUE with blanks between", ""))
            draft.options["arch-args"] = parse_arch_args(said) or None
    if draft.samples.suffix.lower() not in TEXT_TABLES and not all(path.is_dir() for path in draft.models):
        _ask_pixels(draft.options)
    if draft.options["policy"] is None:
        draft.options["policy"] = _prompt("Policy", "release-gate")


def _ask_pixels(options: dict[str, Any]) -> None:
    for name, kind in (("mean", FloatsType()), ("std", FloatsType(positive=True))):
        if options[name] is None:
            said = click.prompt(
                f"{name} of the model's pixels in 0..1 (empty: none)", "", value_proc=_maybe(kind), **_HOW
            )
            options[name] = _plain(said)
    if options["size"] is None:
        said = click.prompt("Size in pixels (empty: as the samples are)", "", value_proc=_maybe(SizeType()), **_HOW)
        options["size"] = said and (said[0] if said[0] == said[1] else list(said))


_HOW: dict[str, Any] = {"err": True, "show_default": False}


def _maybe(kind: Any) -> Any:
    return lambda text: kind.convert(text, None, None) if text else None


def _words(said: str) -> list[str]:
    try:
        return shlex.split(said)
    except ValueError as problem:
        raise UsageError(f"{one_line(said)}: {problem}: put names with blanks or quotes into quotes") from None


def _prompt(question: str, default: str | None) -> str:
    """The questions go to standard error, like all that is no result."""
    plain = default is None or one_line(default) == default  # a file's name may hold anything
    shown = bool(default) if plain else one_line(str(default))
    return str(click.prompt(question, default=default, err=True, show_default=shown))


def _check_output(output: Path, force: bool) -> None:
    try:
        there = output.exists() or output.is_symlink()
    except (OSError, ValueError) as problem:
        raise UsageError(f"--output {output}: cannot be written: {problem}") from problem
    if there and not force:
        raise UsageError(f"{output}: is there already; --force replaces it")


def _check(draft: Draft, output: Path) -> None:
    inputs = [*draft.models, *([draft.samples] if draft.samples else [])]
    if draft.architecture and (architecture := parse_architecture(draft.architecture)).kind == "file":
        inputs.append(Path(architecture.where))
    inputs += [Path(one) for name in ("classes", "base-model", "policy") if (one := draft.options[name])]
    check_writable({"--output": output}, inputs=inputs)


def _write(output: Path, text: str, force: bool) -> None:
    if force:
        write_atomically(output, text)
        return
    try:
        with output.open("x", encoding="utf-8") as stream:  # also if somebody has made it in between
            stream.write(text)
    except FileExistsError:
        raise UsageError(f"{output}: is there already; --force replaces it") from None
    except OSError as error:
        raise ScanError(f"{output}: cannot be written: {error.strerror}") from None
