"""--architecture: from a spec to a freshly built module."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...evidence.errors import MissingExtra, ScanError
from ..out_of_memory import is_out_of_memory
from ..torchvision_compat import import_torchvision
from .arch_args import ArchitectureSpec, parse_architecture

if TYPE_CHECKING:
    from torch import nn


def first_line(error: BaseException) -> str:
    """The exception's type and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


# Weights come from the scanned file only, and nothing is downloaded.
_WEIGHTS = {
    "torchvision": ("weights", "weights_backbone", "pretrained"),
    "timm": ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path"),
}


def _unknown(spec: ArchitectureSpec, what: str, names: Sequence[str]) -> ScanError:
    near = difflib.get_close_matches(spec.name, names, n=3, cutoff=0.5)
    hint = f", did you mean {' or '.join(near)}?" if near else f": it has {', '.join(names[:5])} and more"
    return ScanError(f"--architecture {spec.kind}:{spec.name}: {spec.kind} has no such {what}{hint}")


def _torchvision(spec: ArchitectureSpec) -> Callable[..., Any]:
    try:
        import_torchvision()
    except ModuleNotFoundError:
        raise MissingExtra("torchvision", "torch") from None
    from torchvision import models

    names = models.list_models(module=models)  # classifiers only: detection and the rest live in submodules
    if spec.name not in names:
        raise _unknown(spec, "classifier", names)
    builder: Callable[..., Any] = models.get_model_builder(spec.name)
    return builder


def _timm(spec: ArchitectureSpec) -> Callable[..., Any]:
    try:
        import_torchvision()  # timm imports it
        import timm
    except ModuleNotFoundError:
        raise MissingExtra("timm", "timm") from None

    name, _, tag = spec.name.partition(".")
    if not timm.is_model(name):
        raise _unknown(spec, "model", timm.list_models())
    tagged = timm.list_models(f"{name}.*", include_tags=True) if tag else []
    if tag and spec.name not in tagged:
        raise _unknown(spec, "weights", tagged)
    return functools.partial(timm.create_model, spec.name, pretrained=False)


def import_file(path: Path) -> Any:
    """Import a Python file under its stem's name, its folder importable, and leave it in sys.modules.

    Raises whatever the file raises.
    """
    path = path.resolve()
    loaded = sys.modules.get(path.stem)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    if loaded is not None:
        raise ImportError(f"a module called {path.stem} is loaded already, rename the file")
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # so that the file finds its neighbours
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


def import_spec(spec: ArchitectureSpec) -> Any:
    """Import the module or the file of a spec that is no library's. Raises whatever it raises."""
    if spec.kind == "file":
        return import_file(Path(spec.where))
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a console script does not look where it is started
    return importlib.import_module(spec.where)


def _resolve(text: str, spec: ArchitectureSpec) -> Callable[..., Any]:
    if spec.kind == "torchvision":
        return _torchvision(spec)
    if spec.kind == "timm":
        return _timm(spec)
    if spec.kind == "file" and not Path(spec.where).is_file():
        raise ScanError(f"--architecture {text}: {spec.where} does not exist")
    try:
        module = import_spec(spec)
    except (Exception, SystemExit) as error:
        raise ScanError(f"--architecture {text}: {spec.where} cannot be imported ({first_line(error)})") from None
    target: Any = module
    for part in spec.name.split("."):
        if not hasattr(target, part):
            near = difflib.get_close_matches(part, [name for name in dir(target) if not name.startswith("_")], n=3)
            hint = f", did you mean {' or '.join(near)}?" if near else ""
            raise ScanError(f"--architecture {text}: there is no {part} in {spec.where}{hint}")
        target = getattr(target, part)
    if not callable(target):
        raise ScanError(f"--architecture {text}: {spec.name} cannot be called, it is a {type(target).__name__}")
    result: Callable[..., Any] = target
    return result


def build_architecture(spec: str, arch_args: Mapping[str, object]) -> nn.Module:
    """Build the module that `spec` names, with `arch_args` as keywords; never downloads weights.

    The callable may be the user's own code: it runs here. Raises UsageError for a malformed spec, MissingExtra
    without torchvision or timm, ScanError where it cannot be found, raises, or returns something that is no module.
    """
    from torch import nn

    parsed = parse_architecture(spec)
    builder = _resolve(spec, parsed)
    arguments = dict(arch_args)
    for name in _WEIGHTS.get(parsed.kind, ()):
        if arguments.pop(name, None):
            raise ScanError(f"--arch-arg {name}: weights come from the scanned file only, leave it out")
    if parsed.kind == "torchvision":
        arguments["weights"] = None
        if parsed.name in ("googlenet", "inception_v3"):
            arguments.setdefault("init_weights", False)  # minutes of drawing numbers that the file replaces
    try:
        module = builder(**arguments)
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):  # told with the limit
            raise
        raise ScanError(
            f"--architecture {spec} raised {first_line(error)}: check the spec and the --arch-arg values"
        ) from None
    if not isinstance(module, nn.Module):
        raise ScanError(f"--architecture {spec} returned a {type(module).__name__}, not a torch.nn.Module")
    return module
